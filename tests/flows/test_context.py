"""A flow run on a worker uses the store of the settings, and readers can open its links."""

import logging

import pytest

from paramshare.flows.context import current_context, log_store, pages_base
from paramshare.tracking.store import StoreAddress, open_store


def test_on_a_worker_the_store_follows_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs:5000")
    assert current_context("counts").address == StoreAddress("http://theirs:5000", "counts")
    monkeypatch.setenv("PARAMSHARE_TRACKING_URI", "http://mlflow:5000")
    assert current_context("counts").address == StoreAddress("http://mlflow:5000", "counts")


def test_the_log_of_a_flow_run_on_a_worker_names_the_store_and_what_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@theirs:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    monkeypatch.setattr("paramshare.flows.context.get_run_logger", lambda: logging.getLogger("run"))
    with caplog.at_level(logging.INFO, "run"):
        log_store(current_context("counts").address)
    assert caplog.messages == [
        "MLFLOW_TRACKING_URI is http://***@theirs:5000",
        "MLFLOW_EXPERIMENT_NAME is not used: the flow has the experiment as a parameter",
        "store http://theirs:5000, experiment counts",
    ]


@pytest.mark.parametrize(
    ("setting", "base"),
    [(None, "http://127.0.0.1:5000/"), ("http://server.example:8000", "http://server.example:8000/")],
)
def test_links_in_reports_begin_with_the_address_of_the_pages(
    setting: str | None, base: str, address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting:
        monkeypatch.setenv("PARAMSHARE_PAGES_URL", setting)
    assert pages_base(open_store(address)) == base


def test_links_need_no_variable_of_mlflows_if_an_option_names_the_store(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    assert pages_base(open_store(address)) == "http://127.0.0.1:5000/"
