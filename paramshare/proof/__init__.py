"""Reproduce runs: train a run again from its parameters in the store, and compare all of its numbers."""
