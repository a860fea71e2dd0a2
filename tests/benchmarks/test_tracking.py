"""The server of `benchmarks/tracking.py` starts with the configuration of MLflow's image."""

import importlib
import urllib.request
from pathlib import Path

import pytest

from support import ROOT


def test_the_server_of_the_benchmark_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tracking = importlib.import_module("tracking")
    with tracking.mlflow_server(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path) as uri:
        assert urllib.request.urlopen(f"{uri}/health", timeout=5).read() == b"OK"
