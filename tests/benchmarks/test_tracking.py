"""The server of `benchmarks/tracking.py` starts with the configuration of MLflow's image."""

import urllib.request
from pathlib import Path

from support.benchmarks import load_benchmark

_, tracking = (load_benchmark(name) for name in ("measuring", "tracking"))


def test_the_server_of_the_benchmark_answers(tmp_path: Path) -> None:
    with tracking.mlflow_server(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path) as uri:
        assert urllib.request.urlopen(f"{uri}/health", timeout=5).read() == b"OK"
