"""Recipes: what can be trained. A recipe is a class with model, data, loss, metrics and variants. Two are built in."""
