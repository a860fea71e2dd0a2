"""Tracing: one forward pass on the meta device that records the uses of each weight."""
