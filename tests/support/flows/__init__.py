"""Prefect servers, workers, and the flow runs that a server has recorded."""
