"""Loading: a recipe and its source files, from a reference; and the checks of what its class declares."""
