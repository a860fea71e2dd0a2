"""Proves that the commands that messages name can be pasted into the terminal that shows them."""

import shutil
import sys
from pathlib import Path

import pytest

from paramshare.commands.options import pages_place
from paramshare.settings import StoreSettings


@pytest.mark.parametrize("on_path", [True, False])
def test_a_command_begins_as_the_program_was_started(
    on_path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "paramshare"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(program.parent) if on_path else "/nowhere")
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert pages_place(StoreSettings()) == ("paramshare ui" if on_path else "bin/paramshare ui")


@pytest.mark.parametrize("program", ["paramshare/__main__.py", "my_script.py", "ipykernel_launcher.py"])
def test_a_command_begins_with_python_if_another_program_was_started(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path(program).absolute())])
    python, *words = pages_place(StoreSettings()).split()
    assert words == ["-m", "paramshare", "ui"]
    assert Path(shutil.which(python) or python).samefile(sys.executable)


def test_the_address_that_browsers_use_takes_the_place_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container of a stack, where `paramshare ui` has no browser."""
    monkeypatch.setenv("PARAMSHARE_PAGES_URL", "http://127.0.0.1:5000")
    assert pages_place(StoreSettings()) == "http://127.0.0.1:5000"
