"""Proof: a run is trained again from what the store says of it, and what comes out is held against what is there."""
