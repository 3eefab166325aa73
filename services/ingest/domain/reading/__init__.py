"""Two readings of an event, which give the same: a strict one for those that are sound, and one that mends."""
