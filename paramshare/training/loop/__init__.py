"""The default training loop, its parts, and its checkpoints."""
