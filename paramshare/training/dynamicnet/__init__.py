"""The fast engines of DynamicNet."""
