"""The unshared twins of torch's layers, and where in a model they are put."""
