"""The real SDKs against the running platform, each with what a network does to them. `make sdks` prints the matrix."""
