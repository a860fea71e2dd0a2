"""Samples: the arguments of one call of a model, as tensors on the meta device."""
