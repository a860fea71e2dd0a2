"""Run all benchmarks one after another, and print one table of their results.

    make bench
    python benchmarks/report.py --write docs/speed.md

Each program runs in its own process with its defaults; see the programs for what they cover. On a machine with a GPU,
training is measured on the GPU too. A measurement that is not possible here (without a GPU or PostgreSQL) is reported
and omitted. The table is printed with the machine and the date. With `--write` it is also written to a file, between
the marks `<!-- benchmarks -->` and `<!-- /benchmarks -->`. `counting.py` prints its own tables.

The exit code is 1 if a claim does not hold or a program failed. Nothing is written if a program failed.
"""

import argparse
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from measuring import Line, machine, table, tell, verdict

from paramshare.training.environment.devices import find_devices

PROGRAMS = (
    ("training.py",),
    ("recipes.py",),
    ("tracking.py",),
    ("tracking.py", "--server", "postgresql"),
    ("beside_by_hand.py",),
    ("machines.py",),
    ("comparing.py",),
    ("startup.py",),
)
NOT_HERE = 2  # the exit code of a program that could not measure
MARKED = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- /benchmarks -->)", re.DOTALL)


def main() -> int:
    """Run all benchmarks, print Markdown, write it to the file if there is one, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of this file")
    target: Path | None = parser.parse_args().write
    if target and not MARKED.search(target.read_text()):
        parser.error(f"{target} has no lines <!-- benchmarks --> and <!-- /benchmarks -->")
    counting = subprocess.run([sys.executable, str(Path(__file__).with_name("counting.py"))]).returncode
    gpus = [("training.py", "--device", device.name) for device in find_devices() if device.name.startswith("cuda")]
    lines = [line for program in (*PROGRAMS, *gpus[:1]) for line in lines_of(program)]
    text = f"{machine()}, {datetime.now(UTC):%Y-%m-%d}\n\n{table(lines)}\n"
    print(f"\n{text}\n{verdict(lines)}")
    if target:
        target.write_text(MARKED.sub(lambda _: text, target.read_text(), count=1))
    return 1 if counting or not all(line.holds for line in lines) else 0


def lines_of(program: tuple[str, ...]) -> list[Line]:
    """Run a program and return its lines; none if it cannot measure here, which it reports itself."""
    name, *options = program
    command = [sys.executable, str(Path(__file__).with_name(name)), *options, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode == NOT_HERE:
        return []
    try:
        return [Line(**line) for line in json.loads(done.stdout)]
    except ValueError:
        tell(f"{' '.join(program)} failed")
        raise SystemExit(1) from None


if __name__ == "__main__":
    sys.exit(main())
