"""The accounting of single operations: rules for each operation of torch, MACs, sites and results."""
