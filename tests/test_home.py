"""A process without a home folder, or with one that cannot be written, gets what its libraries need."""

import os
import sys
from pathlib import Path

import pytest

from paramshare.home import prepare_home


@pytest.fixture(autouse=True)
def _matplotlib_is_not_imported_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("MPLCONFIGDIR", "")  # so that the former value comes back
    monkeypatch.delenv("MPLCONFIGDIR")


def test_a_user_without_a_passwd_entry_gets_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654_321)
    with pytest.raises(RuntimeError):
        Path.home()
    prepare_home()
    assert Path.home() == Path("/")


def test_matplotlib_gets_a_temporary_folder_only_if_the_home_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare_home()
    assert "MPLCONFIGDIR" not in os.environ
    monkeypatch.setenv("HOME", "/proc/nowhere")
    prepare_home()
    assert Path(os.environ["MPLCONFIGDIR"]).is_dir()
    assert list(tmp_path.iterdir()) == []
