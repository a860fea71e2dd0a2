"""Recipes: what can be trained. A recipe is a class of the user's: model, data, loss, metrics, options and variants."""
