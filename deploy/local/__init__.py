"""A whole Rapport on one machine, from nothing but pip: PostgreSQL, Kafka, the five services and who watches them."""
