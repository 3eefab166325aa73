"""Other protocols' bodies, rewritten as events in Segment's form."""
