"""Statistics: numbers of groups of runs and of pairs of groups, each with n and an interval, or why there is none.

Covered: one group's values (`summary`), two groups over the same seeds (`paired`) and over seeds of their own
(`unpaired`), what so many runs can show (`power`), and many comparisons at once (`holm`). Not covered: more than two
groups in one test, and curves.

A run that diverged has a value that is not finite. It is worse than any number and is never dropped unsaid: ranks,
quantiles and probabilities count it as the worst; what takes a mean leaves it out and says so in a note.
"""
