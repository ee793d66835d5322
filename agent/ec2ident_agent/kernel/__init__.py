"""The kernel: what we ask of it, how it is read and changed, what it announces, and one in memory for tests."""
