"""Read the runs of a store: find them, and read their values, curves, artifacts and settings."""
