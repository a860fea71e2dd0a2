"""Two rank tests: their p, the estimates and intervals that belong to them, and their power."""
