"""The rules of messages: pure, no clock, no I/O."""
