"""The Docker engine, the stack of `docker/compose.yaml`, and the rules that its services keep."""
