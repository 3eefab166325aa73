"""What ingest decides about an event, as plain functions: no I/O, no clock (time is an argument), no framework."""
