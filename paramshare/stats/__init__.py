"""Statistics of groups of runs and of pairs of groups: each estimate has n, and an interval or the reason for its lack.

Covered: the values of one group (`summary`), two groups with common seeds (`paired`), two groups without (`unpaired`),
power (`rank_tests.power`), and the correction for several comparisons (`comparison`). Not covered: tests of more than
two groups at once, and curves.

A run that diverged has a value that is not finite. Such a run is worse than any number. Ranks, quantiles and
probabilities count it as the worst value. Means omit it and have a note about that.
"""
