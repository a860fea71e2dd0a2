"""Commands and recipes: the options of the recipe that a command line names; lists, `init` and `check`."""
