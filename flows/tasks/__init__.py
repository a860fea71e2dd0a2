"""Tasks of the flows that train: a chunk each, in pools of this machine or on a Dask cluster."""
