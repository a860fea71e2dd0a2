"""Addresses of MLflow's pages. An empty `base` gives an address relative to these pages."""

from typing import Final
from urllib.parse import quote

from paramshare.tracking.display.views import view_key

__all__ = ["artifact_url", "experiment_url", "picture_url", "run_url", "search_url"]

_MODE: Final = "workflowType=machine_learning"  # the default of MLflow's pages is for language models


def experiment_url(base: str, experiment_id: str, view: str = "seeds") -> str:
    """Return the page of an experiment, in one of its saved views."""
    return f"{base}#/experiments/{experiment_id}/runs?{_MODE}&compareRunsMode=CHART&viewStateShareKey={view_key(view)}"


def search_url(base: str, experiment_id: str, condition: str) -> str:
    """Return the page of the runs of an experiment that meet `condition`, in the syntax of MLflow's search."""
    return f"{base}#/experiments/{experiment_id}/runs?{_MODE}&searchFilter={quote(condition)}"


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """Return the page of a run."""
    return f"{base}#/experiments/{experiment_id}/runs/{run_id}?{_MODE}"


def artifact_url(base: str, experiment_id: str, run_id: str, name: str) -> str:
    """Return the page that shows an artifact of a run."""
    return run_url(base, experiment_id, f"{run_id}/artifacts/{quote(name)}")


def picture_url(base: str, run_id: str, name: str) -> str:
    """Return the address of a picture among a run's artifacts."""
    return f"{base}get-artifact?path={name}&run_uuid={run_id}"
