"""Replays, rebuilds and what-ifs, as commands."""
