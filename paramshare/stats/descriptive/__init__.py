"""Location, spread and standardized effects; values of diverged runs."""
