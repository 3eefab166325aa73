"""Rewards' routes."""
