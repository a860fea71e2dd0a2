"""Measure and test on a GPU, in at most 8 minutes, and write one report.

    make test-gpu
    make test-gpu GPU_PYTHON=python3 OUTPUT=report.md

Covered: the tests that need CUDA; 256 seeds at once beside the plain loop; `train` and `flow sweep` by several
processes, trained against written; `reproduce`; memory at 1,024 seeds. All of it runs the checkout's source with the
interpreter's own packages; nothing is installed. A stage that fails or takes too long does not keep the next one from
running.
Not covered: several GPUs; a store on a server.

It ends with exit code 0 and one line if the interpreter's torch sees no GPU; with 1 and one line if a package is
missing; else it writes the report and ends with 1 if a stage failed.
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

LONGEST = 460.0  # seconds of all stages together; with what comes before and after them at most 8 minutes
RESERVE = 2 * GRACE  # seconds of them to end the last command
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
        result: in words, one line.
        seconds: that it took.
        details: the end of its command's output if it failed.
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
        print(f"test-gpu: no GPU: {card}; nothing is tested")
        return 0
    if lacking := missing():
        print(f"test-gpu: {sys.executable} lacks {', '.join(lacking)}; install what is missing, or name another Python")
        return 1
    unwind_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="gpu-", ignore_cleanup_errors=True) as folder:
        outcomes = carry_out(STAGES, Path(folder))
    written = report(card, outcomes, f"{datetime.now(UTC):%Y-%m-%d}")
    output.write_text(written)
    print(f"{written}\nwritten to {output}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def find_card() -> Card | str:
    """Return the first GPU, or why there is none. A separate process looks, so this one uses no GPU memory."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return f"{sys.executable} cannot ask torch ({reason[0]})"
    found = json.loads(done.stdout.splitlines()[-1])
    return Card(**found) if found else f"the torch of {sys.executable} sees none"


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


def carry_out(stages: Sequence[Stage], folder: Path, longest: float = LONGEST) -> list[Outcome]:
    """Run every stage, also after one that failed, in at most `longest` seconds together."""
    last = time.monotonic() + longest - RESERVE
    outcomes = []
    for stage in stages:
        tell(f"gpu.py: {stage.name}")
        begin = time.monotonic()
        result, passed, details = attempt(stage, Place(folder, min(begin + stage.budget, last)))
        outcomes.append(Outcome(stage, result, passed, time.monotonic() - begin, details))
        tell(f"gpu.py: {stage.name}: {result}")
    return outcomes


def attempt(stage: Stage, place: Place) -> tuple[str, bool, str]:
    """Run one stage. Return its result, whether it passed, and details if it did not."""
    if time.monotonic() >= place.until:
        return "not begun: no time is left", False, ""
    try:
        return stage.run(place), True, ""
    except StageError as error:
        return str(error), False, error.details
    except Exception as error:  # the stages after it still run
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
        f"{verdict} {sum(outcome.seconds for outcome in outcomes):.0f} s in all.",
        *(f"## {outcome.stage.name}\n\n````\n{outcome.details}\n````" for outcome in failed if outcome.details),
    ]
    return "\n\n".join(parts) + "\n"


def cell(text: str) -> str:
    """Return a text as one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
