"""A folder in which Prefect cannot keep its history is refused in one line."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from paramshare.errors import ServerError, SettingsError
from paramshare.flows.api.home import home_trouble, make_home
from paramshare.flows.api.server import check_api, require_api


def test_a_prefect_home_that_cannot_be_created_is_refused_in_one_line() -> None:
    with temporary_settings({PREFECT_HOME: Path("/proc/nowhere/.prefect"), PREFECT_API_URL: None}):
        with pytest.raises(SettingsError, match=r"^Prefect cannot keep its history in /proc/nowhere/\.prefect \("):
            make_home()
        said, well = check_api()
    assert not well
    assert "set PREFECT_HOME to a folder that can be written" in said


def test_the_check_of_a_prefect_home_does_not_create_it(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    with temporary_settings({PREFECT_HOME: home}):
        assert home_trouble() == ""
        assert list(tmp_path.iterdir()) == []
        assert make_home() == home
    assert home.is_dir()


@pytest.mark.parametrize("address", ["foo", "http://host:port/api"])
def test_an_invalid_address_of_prefects_api_is_reported_in_one_line(address: str) -> None:
    with temporary_settings({PREFECT_API_URL: address}):
        said, well = check_api()
        with pytest.raises(ServerError, match="PREFECT_API_URL is"):
            require_api()
    assert not well
    assert said.startswith(f"PREFECT_API_URL is {address!r}, not an address")
