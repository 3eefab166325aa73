"""How Rapport is installed and run."""
