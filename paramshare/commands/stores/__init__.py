"""Commands that write to a store of runs what is there already: kept results, names of models."""
