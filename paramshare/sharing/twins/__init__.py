"""Unshared twins: `untie` makes a copy of a model whose weights are not shared along some axes."""
