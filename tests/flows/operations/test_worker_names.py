"""The name of a worker outlives it, and two running workers never share a name."""

import subprocess
import sys
from pathlib import Path

from paramshare.flows.operations.worker_names import claimed_names

CLAIM = """
import sys, time
from pathlib import Path
from paramshare.flows.operations.worker_names import claimed_names
with claimed_names(Path("names"), "cpu", 1) as names:
    print(names.own[0], flush=True)
    time.sleep(600)
"""


def test_a_name_outlives_its_worker_and_two_running_workers_never_share_one(tmp_path: Path) -> None:
    folder = tmp_path / "names"
    with subprocess.Popen([sys.executable, "-c", CLAIM], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            theirs = other.stdout.readline().strip()
            with claimed_names(folder, "cpu", 2) as names:
                first, second = names.own
                assert len({theirs, first, second}) == 3
                assert names.orphaned == ()
        finally:
            other.kill()
    with claimed_names(folder, "cpu", 1) as names:
        assert names.own == (theirs,)
        assert names.orphaned == (first, second)
        with claimed_names(folder, "cpu", 1) as others:
            assert others.own[0] not in (theirs, first, second)
        names.release()
        with claimed_names(folder, "cpu", 1) as others:
            assert others.own == (first,)
    with claimed_names(folder, "gpu", 1) as names:
        assert names.own[0] not in (theirs, first, second)
