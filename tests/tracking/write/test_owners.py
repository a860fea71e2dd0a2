"""The owner of a sweep is known to be alive or dead, on this machine and on others."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from paramshare.tracking.store import StoreAddress, open_store
from paramshare.tracking.tags import ALIVE_UNTIL, OWNER
from paramshare.tracking.write import owners
from paramshare.tracking.write.owners import Owner, is_alive, renewed_lease

PRINT_TAGS = """
import json, sys
from paramshare.tracking.write.owners import Owner
print(json.dumps(Owner.here().tags()), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Start another process, which prints its owner's tags and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRINT_TAGS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def in_minutes(minutes: float) -> str:
    return str(int((time.time() + 60 * minutes) * 1000))


def tags_of_another_machine(alive_until: str) -> dict[str, str]:
    return {OWNER: json.dumps(asdict(replace(Owner.here(), host="another"))), ALIVE_UNTIL: alive_until}


def test_a_process_of_this_machine_is_alive_until_it_ends_for_any_lease(
    other: subprocess.Popen[str],
) -> None:
    assert other.stdout is not None
    tags = json.loads(other.stdout.readline())
    assert is_alive({**tags, ALIVE_UNTIL: in_minutes(-60)}, Owner.here()) is True
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it is gone, and its id still taken
    assert is_alive({**tags, ALIVE_UNTIL: in_minutes(60)}, Owner.here()) is False
    other.wait()
    assert is_alive({**tags, ALIVE_UNTIL: in_minutes(60)}, Owner.here()) is False


def test_a_process_with_a_reused_id_is_not_the_owner() -> None:
    tags = replace(Owner.here(), started="1").tags()
    assert is_alive(tags, Owner.here()) is False
    assert is_alive(Owner.here().tags(), Owner.here()) is True


@pytest.mark.parametrize("part", ["host", "boot", "pid_namespace"])
def test_an_owner_on_another_machine_is_alive_until_its_lease_expires(part: str) -> None:
    here = Owner.here()
    owner = replace(here, **{part: "another"})
    assert is_alive(owner.tags(), here) is True
    assert is_alive({**owner.tags(), ALIVE_UNTIL: in_minutes(-1)}, here) is False


@pytest.mark.parametrize("alive_until", ["", "soon"])
def test_an_owner_on_another_machine_without_a_lease_is_not_alive(alive_until: str) -> None:
    assert is_alive(tags_of_another_machine(alive_until), Owner.here()) is False


@pytest.mark.parametrize("owner", [None, "", "me", "{}", '{"pid": 1}', "[1]"])
def test_the_state_of_a_run_without_a_valid_owner_is_unknown(owner: str | None) -> None:
    assert is_alive({} if owner is None else {OWNER: owner}, Owner.here()) is None


def test_a_lease_is_renewed_while_its_block_runs_even_if_another_renewal_fails(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "_RENEW_EVERY", 0.02)
    store = open_store(address)
    run_id = store.client.create_run(store.experiment_id, tags={ALIVE_UNTIL: "1"}).info.run_id

    def lease() -> int:
        return int(store.client.get_run(run_id).data.tags[ALIVE_UNTIL])

    with renewed_lease(store, "0" * 32), renewed_lease(store, run_id):  # of the first there is no run
        for _ in range(500):
            if lease() > 1:
                break
            time.sleep(0.02)
    assert 60_000 < lease() - time.time() * 1000 < 600_000
