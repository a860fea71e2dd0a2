"""Prefect's API as flows see it: the configured one, or a server that ends with the flow."""
