"""Tensors of models and inputs: the regions of storage that they cover, the objects that hold them, and copies."""
