"""Stores and MLflow servers of tests, and checks of what a sweep leaves in them."""
