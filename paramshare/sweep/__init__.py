"""Sweeps: many specs trained over processes and devices, each a run in the store, all of them one parent run."""
