"""Several hosts on this machine, and Dask clusters."""
