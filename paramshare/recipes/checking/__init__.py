"""The check of a recipe before it is trained."""
