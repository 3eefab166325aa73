"""Ingest's routes."""
