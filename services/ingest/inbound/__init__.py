"""Inbound webhooks: what other systems post to a source, verified by signature and mapped to events."""
