"""What rewards decides: points, badges and levels of one customer. Plain data and functions, no clock, no I/O."""
