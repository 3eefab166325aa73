"""The whole platform under seeded load while seeded faults strike it; then what came out is held against a model."""
