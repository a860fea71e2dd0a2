"""Sweeps: many specs trained over processes and devices, each a run in the store under one parent run."""
