"""`rapport import`: sends a file of history to ingest."""
