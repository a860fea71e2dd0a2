"""The examples of the pages run as they stand, in their order, and print what the pages show.

The commands of paramshare and the Python of a page run in this process, in a folder of the page's own, with fewer seeds
and steps. Not run here: flows (`tests/flows`), MLflow's pages (`tests/test_ui.py`), the stack (`tests/containers`).
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from paramshare.cli import main
from support.models.model_libraries import import_torchvision
from support.user_pages import USER_PAGES, Block, blocks, commands_of, name_of

NOT_RUN = ("flow", "ui")
FEWER_SEEDS = "0:2"
SMALLER = {
    "dynamicnet": {"PARAMSHARE_STEPS": "20"},
    "digits": {"PARAMSHARE_STEPS": "12", "PARAMSHARE_EXAMPLES": "60", "PARAMSHARE_CHANNELS": "2"},
}
RUN_ID = re.compile(r"[0-9a-f]{8}")
NUMBERS = re.compile(r"[0-9a-f]{8,}|[-+]?\d[\d.,e+-]*")

PAGES = [page for page in USER_PAGES if any(block.language in ("sh", "python") for block in blocks(page))]


@pytest.mark.usefixtures("address")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_examples_of_a_page_run_and_print_the_output_on_the_page(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARAMSHARE_WORKERS", "1")
    monkeypatch.syspath_prepend(Path.cwd())  # as in a notebook
    with suppress(ImportError):
        import_torchvision()  # with any build of torch
    write_modules(page)
    needs_run = any(f"paramshare {command} " in page.read_text() for command in ("reproduce", "register"))
    run_id = trained_run(monkeypatch, capsys) if needs_run else ""
    namespace: dict[str, object] = {"__name__": "page"}  # a later block uses the names of those before
    printed, exact = None, False
    for block in blocks(page):
        if block.language in ("sh", "python"):
            ran = run_block(block, namespace, run_id, monkeypatch)
            output = capsys.readouterr().out
            printed, exact = output if ran else None, block.language == "python" or " analyze " in block.text
        elif block.language == "text" and printed is not None:
            assert_shown(block.text, printed, exact)


def trained_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return a run of this store, in the place of a run of the machine on which the page was written."""
    assert run_command(["train", "--json"], "", monkeypatch) == 0
    run_id: str = json.loads(capsys.readouterr().out)["runs"][0]["run_id"]
    return run_id


def write_modules(page: Path) -> None:
    """Write the blocks that begin with the name of a file of Python."""
    for block in blocks(page):
        if match := re.match(r"# (\w+\.py)\n", block.text):
            Path(match[1]).write_text(block.text)


def run_block(block: Block, namespace: dict[str, object], run_id: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a block, and return whether any of it was run."""
    if block.language == "python":
        exec(compile(block.text, "page", "exec"), namespace)
        return True
    ours = [command[1:] for command in commands_of(block.text) if command[0] == "paramshare"]
    studies = {target_of(command): command for command in ours if command[0] == "study"}  # one of each: they take long
    ours = [command for command in ours if command[0] != "study" or command in studies.values()]
    chosen = [arguments for command in ours for arguments in in_this_process(command)]
    for arguments in chosen:
        assert run_command(arguments, run_id, monkeypatch) == 0, arguments
    return bool(chosen)


def in_this_process(command: tuple[str, ...]) -> Iterator[list[str]]:
    """Yield what is run in the place of a command: it, each model that a flow counts, or nothing."""
    if command[:2] == ("flow", "count"):
        for model, _, size in (word.rpartition("@") for word in command[2:] if "@" in word):
            yield ["analyze", model, "--input", size]
    elif command[0] not in NOT_RUN:
        yield list(command)


def target_of(command: Sequence[str]) -> str:
    """Return what a command trains."""
    return "digits" if "digits" in command else "dynamicnet"


def run_command(arguments: list[str], run_id: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command with fewer seeds and steps than a page shows."""
    with monkeypatch.context() as settings:
        for name, value in SMALLER[target_of(arguments)].items():
            settings.setenv(name, value)
        if arguments[0] in ("register", "reproduce", "verify"):
            arguments = [run_id if RUN_ID.fullmatch(word) else word for word in arguments]
        elif arguments[0] in ("train", "study"):
            arguments = [*arguments, "--seeds", FEWER_SEEDS]  # the last one counts
        return main(arguments)


def assert_shown(shown: str, printed: str, exact: bool) -> None:
    """Compare each line that a page shows with what was printed: all of it, or its words before the first number.

    Of a table's row the first cell counts: the others may depend on numbers. A page's `…` is what it leaves out.
    """
    lines = [line.rstrip() for line in printed.splitlines()]
    starts = {beginning(line) for line in lines}
    for line in shown.splitlines():
        if line.strip() not in ("", "…"):
            known = line in lines if exact else any(start.startswith(beginning(line)) for start in starts)
            assert known, f"{line!r} is not in:\n{printed}"


def beginning(line: str) -> str:
    """Return a line up to its first number or second cell; a line that begins with a number with all numbers masked."""
    masked = NUMBERS.sub("#", line.strip())
    return re.split(r"#|…|\s{2,}", masked, maxsplit=1)[0] or " ".join(masked.split())
