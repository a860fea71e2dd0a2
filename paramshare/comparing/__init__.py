"""Compare groups of runs: numbers with n and an interval, figures and a report."""
