"""The second experiment: digits moved about a canvas, learned by a convolutional net and by its unshared twins.

A small convolutional net, its locally connected twin and its dense twin start as the same function, see the same
digits in the same batches, and are trained until they fit them equally well. What differs is what they share, and so
where they know a digit: at the offsets that they have seen, or everywhere.
"""
