"""Counting: what a module's weights are, where they are shared, and what they would be if they were not."""
