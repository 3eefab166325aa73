"""Triggers over REST."""
