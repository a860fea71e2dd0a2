"""Test which values of a deployment a registration takes from the file, and which from the server."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, GlobalConcurrencyLimit
from prefect.client.schemas.responses import DeploymentResponse
from prefect.variables import Variable

from paramshare.flows.operations.user_changes import keep_changes, record_registered
from support.flows.flow_records import connected
from support.flows.prefect_server import PrefectServer

ENTRY = {
    "name": "sweep-nightly",
    "entrypoint": "flows.sweep.sweep",
    "tags": ["paramshare", "sweep"],
    "parameters": {"spec": {"seeds": "0:100"}},
    "concurrency_limit": {"limit": 1, "collision_strategy": "ENQUEUE"},
}
NAME = "sweep/sweep-nightly"


def deployed(**changes: Any) -> dict[str, DeploymentResponse]:
    """Return the deployment of the file with changes."""
    limit = changes.pop("limit", 1)
    values = {"parameters": ENTRY["parameters"], "tags": ENTRY["tags"], "paused": False, **changes}
    held = GlobalConcurrencyLimit(name="x", limit=limit, id=uuid4()) if limit else None
    return {
        NAME: DeploymentResponse(
            id=uuid4(),
            created=datetime.now(UTC),
            name="sweep-nightly",
            flow_id=uuid4(),
            global_concurrency_limit=held,
            concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
            **values,
        )
    }


@pytest.fixture(autouse=True)
def _recorded(prefect_server: PrefectServer) -> Any:
    with connected(prefect_server):
        before = Variable.get("paramshare_registered")
        record_registered({"deployments": [ENTRY]})
        yield
        Variable.set("paramshare_registered", before, overwrite=True)


def test_values_that_no_user_has_changed_come_from_the_file() -> None:
    later = {"deployments": [{**ENTRY, "parameters": {"spec": {"seeds": "0:200"}}, "tags": ["paramshare"]}]}
    assert keep_changes(later, deployed()) == (later, {})


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"parameters": {"spec": {"seeds": "0:7"}}}, "parameters", {"spec": {"seeds": "0:7"}}),
        ({"tags": ["paramshare", "mine"]}, "tags", ["mine", "paramshare"]),
        ({"paused": True}, "paused", True),
        ({"limit": 5}, "concurrency_limit", {"limit": 5, "collision_strategy": "ENQUEUE"}),
        ({"limit": None}, "concurrency_limit", None),
    ],
)
def test_values_that_a_user_has_changed_are_kept_even_if_the_file_changes(
    change: dict[str, Any], field: str, value: object
) -> None:
    later = {"deployments": [{**ENTRY, "parameters": {"spec": {"seeds": "0:200"}}}]}
    before = deepcopy(later)
    kept, fields = keep_changes(later, deployed(**change))
    assert kept["deployments"][0][field] == value
    assert fields == {NAME: [field]}
    assert later == before
    assert {name for name in ENTRY if kept["deployments"][0][name] != later["deployments"][0][name]} <= {field}
