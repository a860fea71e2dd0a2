"""Comparing: groups of runs side by side, in numbers with n and an interval, in figures, as a report."""
