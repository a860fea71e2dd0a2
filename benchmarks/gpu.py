"""Measure and test on a GPU, in at most 8 minutes, and write one report.

    make test-gpu
    make test-gpu GPU_PYTHON=python3 OUTPUT=report.md

Covered: the tests that need CUDA; 256 seeds at once compared with the plain loop; the rates of training and writing of
`train` and `flow sweep` with several processes; `reproduce`; memory at 1,024 seeds. The stages run the checkout's
source with the packages of the interpreter; nothing is installed. The next stage runs even if a stage fails or takes
too long.
Not covered: several GPUs; a store on a server.

The exit code is 0, with one line, if the interpreter's torch has no GPU; 1, with one line, if a package is missing.
Otherwise the report is written, and the exit code is 1 if a stage failed.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from gpu_stages import GRACE, ROOT, STAGES, Place, Stage, StageError
from measuring import tell, unwind_on_sigterm

MAX_SECONDS = 460.0  # of all stages together; with the time before and after them at most 8 minutes
RESERVE = 2 * GRACE  # seconds of it to end the last command
REPORT = Path("gpu-report.md")
OF_TESTS = ("pytest", "hypothesis")
PROBE = """
import json, platform, torch
card = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
print(json.dumps(card and {
    "name": card.name, "gib": card.total_memory / 2**30, "torch": torch.__version__, "cuda": torch.version.cuda,
    "python": platform.python_version(),
}))
"""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU as the interpreter's torch sees it; `gib` is its memory in GiB."""

    name: str
    gib: float
    torch: str
    cuda: str
    python: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a stage.

    Args:
        stage: the stage.
        result: the result in one line.
        passed: whether the stage passed.
        seconds: the duration.
        details: the end of its command's output. Defaults to empty: the stage passed.
    """

    stage: Stage
    result: str
    passed: bool
    seconds: float
    details: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all stages, write the report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPORT, help=f"the report's file (default: {REPORT})")
    output: Path = parser.parse_args(arguments).output
    card = find_card()
    if isinstance(card, str):
        print(f"test-gpu: no GPU: {card}; nothing was tested")
        return 0
    if lacking := missing():
        print(f"test-gpu: {sys.executable} lacks {', '.join(lacking)}; install the packages or set GPU_PYTHON")
        return 1
    unwind_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="gpu-", ignore_cleanup_errors=True) as folder:
        outcomes = run_stages(STAGES, Path(folder))
    text = report(card, outcomes, f"{datetime.now(UTC):%Y-%m-%d}")
    output.write_text(text)
    print(f"{text}\nwritten to {output}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def find_card() -> Card | str:
    """Return the first GPU, or the reason why there is none. A child process asks, so this one uses no GPU memory."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return f"{sys.executable} cannot ask torch ({reason[0]})"
    card = json.loads(done.stdout.splitlines()[-1])
    return Card(**card) if card else f"the torch of {sys.executable} sees none"


def missing() -> list[str]:
    """Return the packages that the stages need and this interpreter lacks. Versions are not checked."""
    table = re.search(r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert table
    lacking = []
    for name in (*re.findall(r'^  "([\w-]+)', table[1], re.MULTILINE), *OF_TESTS):
        try:
            distribution(name)
        except PackageNotFoundError:
            lacking.append(name)
    return lacking


def run_stages(stages: Sequence[Stage], folder: Path, max_seconds: float = MAX_SECONDS) -> list[Outcome]:
    """Run every stage, also after a failed one, in at most `max_seconds` together."""
    last = time.monotonic() + max_seconds - RESERVE
    outcomes = []
    for stage in stages:
        tell(f"gpu.py: {stage.name}")
        begin = time.monotonic()
        result, passed, details = run_stage(stage, Place(folder, min(begin + stage.budget, last)))
        outcomes.append(Outcome(stage, result, passed, time.monotonic() - begin, details))
        tell(f"gpu.py: {stage.name}: {result}")
    return outcomes


def run_stage(stage: Stage, place: Place) -> tuple[str, bool, str]:
    """Run one stage. Return its result, whether it passed, and details if it did not."""
    if time.monotonic() >= place.until:
        return "not started: no time is left", False, ""
    try:
        return stage.run(place), True, ""
    except StageError as error:
        return str(error), False, error.details
    except Exception as error:  # the next stages still run
        return f"{type(error).__name__}: {error}", False, ""


def report(card: Card, outcomes: Sequence[Outcome], date: str) -> str:
    """Return the report in Markdown."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    rows = [
        f"| {cell(outcome.stage.name)} | {cell(outcome.result)} | {cell(outcome.stage.claim)} "
        f"| {'yes' if outcome.passed else '**no**'} | {outcome.seconds:.0f} |"
        for outcome in outcomes
    ]
    facts = f"{card.gib:.0f} GiB, torch {card.torch}, CUDA {card.cuda}, Python {card.python}, {date}"
    verdict = f"{len(failed)} of {len(outcomes)} stages failed." if failed else f"All {len(outcomes)} stages passed."
    parts = [
        f"# {card.name}",
        facts,
        "\n".join(["| stage | result | claim | holds | seconds |", "| :-- | :-- | :-- | :-- | --: |", *rows]),
        f"{verdict} {sum(outcome.seconds for outcome in outcomes):.0f} s in total.",
        *(f"## {outcome.stage.name}\n\n````\n{outcome.details}\n````" for outcome in failed if outcome.details),
    ]
    return "\n\n".join(parts) + "\n"


def cell(text: str) -> str:
    """Return a text as one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
