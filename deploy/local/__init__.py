"""A whole Rapport on one machine, from pip alone: PostgreSQL, Kafka, the five services and their supervisor."""
