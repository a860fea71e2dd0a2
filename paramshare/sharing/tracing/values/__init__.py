"""Values during a pass without data: constants are computed, unknown values are assumed and reported."""
