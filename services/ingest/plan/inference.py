"""A plan drafted from events that have arrived. Pure."""
