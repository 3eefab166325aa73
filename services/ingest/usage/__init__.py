"""Usage: how many events came by each write key and webhook on each day, and how many may."""
