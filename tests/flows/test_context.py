"""A flow run on a worker uses the store of the settings, and readers can open its links."""

import pytest

from paramshare.flows.context import current_context, pages_base
from paramshare.tracking.store import StoreAddress, open_store


def test_on_a_worker_the_store_follows_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs:5000")
    assert current_context("counts").address == StoreAddress("http://theirs:5000", "counts")
    monkeypatch.setenv("PARAMSHARE_TRACKING_URI", "http://mlflow:5000")
    assert current_context("counts").address == StoreAddress("http://mlflow:5000", "counts")


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
