"""Learning: seeds in, curves out. Needs torch and numpy; knows nothing of stores, flows or figures."""
