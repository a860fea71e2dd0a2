"""DynamicNet: one layer that is applied 0 to 3 times at random, or a layer for each application."""
