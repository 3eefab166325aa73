"""Benchmarks, run by `make bench`: each figure is a ratio to a bare limit measured in the same run. No test asserts a time."""
