"""The weights that a tensor is computed from."""
