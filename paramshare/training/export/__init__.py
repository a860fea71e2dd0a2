"""Trained models as graphs that load without unpickling."""
