"""The importer, without ingest."""
