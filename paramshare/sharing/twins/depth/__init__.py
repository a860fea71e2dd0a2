"""The axis `depth`: a copy of a module for each of its calls in one pass."""
