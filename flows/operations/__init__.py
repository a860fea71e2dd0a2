"""Operations: the registration of deployments, and workers that lose no run."""
