"""The axes `space` and `dense`: layers with weights for each position, in place of layers that share them."""
