"""Models and layers that several tests count."""
