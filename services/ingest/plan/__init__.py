"""The tracking plan: which events a source should send, and with which properties."""
