"""Loading: a model or the arguments of its call from a user's file or an installed package."""
