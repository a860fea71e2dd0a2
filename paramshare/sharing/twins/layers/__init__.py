"""The layers of twins: each computes the function of a torch layer with a copy of its weights for each position."""
