"""Proves that the commands that messages name can be pasted into the terminal that shows them."""

import shutil
import sys
from pathlib import Path

import pytest

from paramshare.commands.options import ui_command
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
    assert ui_command(StoreSettings()) == ("paramshare ui" if on_path else "bin/paramshare ui")


@pytest.mark.parametrize("program", ["paramshare/__main__.py", "my_script.py", "ipykernel_launcher.py"])
def test_a_command_begins_with_python_if_another_program_was_started(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path(program).absolute())])
    python, *words = ui_command(StoreSettings()).split()
    assert words == ["-m", "paramshare", "ui"]
    assert Path(shutil.which(python) or python).samefile(sys.executable)
