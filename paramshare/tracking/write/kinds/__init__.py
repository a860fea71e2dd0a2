"""The content of each kind of run: a seed's training, a sweep, a count."""
