"""Test in real shells that a tab completes commands, options, fixed values and files."""

import os
import pty
import selectors
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from paramshare.cli import main

CASES = [
    ("tr", {"train"}),
    ("flow ", {"sweep", "study", "count", "verify"}),
    ("flow sw", {"sweep"}),
    ("train --eng", {"--engine"}),
    ("train --engine ", {"auto", "reference", "exact", "gram"}),
    ("train --seeds 0:3 d", {"dynamicnet", "digits"}),
    ("study n", {"nets.py"}),
    ("train --plac", {"--placement"}),
    ("ui --json --view dyn", {"dynamicnet"}),
    ("layer conv_transpose", {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}),
    ("completion ", {"bash", "zsh", "fish"}),
    ("compare --report s", {"study.md"}),
    ("analyze n", {"nets.py"}),
    ("train nets.py:Spirals --wi", {"--width"}),
    ("train nets.py --l", {"--learning-rate", "--layers"}),
    ("study nets.py:Other --seeds 0:3 --lay", {"--layers"}),
    ("flow sweep nets.py:Spirals --no-wa", {"--no-warm"}),
    ("check nets.py:Spirals --note", set()),
]
NETS = '''
import paramshare as ps

class Spirals(ps.Recipe):
    """Does it help?"""

    class Options(ps.Options):
        """The options; each is a field.

        note: none of the text is an option.
        """

        width: int = Field(
            8,
            note=1,
        )
        # hidden: a comment
        learning_rate: float = 0.3
        warm: bool = False

        def width_of(self):
            value: int = 3

    limit: int = 2

class Other(ps.Recipe):
    class Options(ps.Options):
        layers: int = 2
'''

BASH = """
source "$1"
function=$(complete -p paramshare | sed 's/.*-F \\([^ ]*\\).*/\\1/')
while IFS= read -r line; do
  read -ra COMP_WORDS <<< "paramshare $line"
  [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  "$function" paramshare "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
  echo "${COMPREPLY[*]}"
done
"""
FISH = """
source $argv[1]
while read -P "" line
  echo (complete -C "paramshare $line" | string replace -r '\\t.*' '' | string join ' ')
end
"""
UNIQUE = [(line, values) for line, values in CASES if len(values) == 1]  # zsh puts these into the line


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Path:
    """Write the script of the shell that the test is for, in a folder with two files."""
    shell = request.param
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    file = tmp_path / f"completion.{shell}"
    file.write_text(capsys.readouterr().out)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "study.md").touch()
    return file


def completed(command: list[str], script: Path) -> dict[str, set[str]]:
    """Return what a shell offers for each case."""
    lines = "".join(f"{line}\n" for line, _ in CASES)
    done = subprocess.run([*command, str(script)], input=lines, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return {line: set(words.split()) for (line, _), words in zip(CASES, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_options_values_and_files(script: Path) -> None:
    assert completed(["bash", "--norc", "-c", BASH, "bash"], script) == dict(CASES)


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_commands_options_values_and_files(script: Path) -> None:
    assert completed(["fish", "--no-config", "-c", FISH], script) == dict(CASES)


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_completes_commands_options_values_and_files(script: Path) -> None:
    """In a terminal, since zsh completes nowhere else."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(script.parent)
        os.environ.update(TERM="dumb", PS1="", ZDOTDIR=str(script.parent))
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        start = f"stty cols 200; autoload -U compinit; compinit -u -D; eval \"$(<{script})\"; echo rea''dy\n"
        os.write(terminal, start.encode())
        assert _read(terminal, "ready\r\n")
        for line, (value,) in UNIQUE:
            os.write(terminal, f"paramshare {line}\t".encode())
            assert _read(terminal, f"{line.rpartition(' ')[0]} {value} ".lstrip()), line
            os.write(terminal, b"\x15")  # Ctrl-U: the line is empty again
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _read(terminal: int, expected: str) -> bool:
    """Return whether a terminal shows a text within a minute."""
    shown, deadline = "", time.monotonic() + 60
    with selectors.DefaultSelector() as ready:
        ready.register(terminal, selectors.EVENT_READ)
        while expected not in shown and time.monotonic() < deadline:
            if ready.select(1):
                shown += os.read(terminal, 65536).decode(errors="replace")
    return expected in shown
