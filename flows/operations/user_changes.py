"""The properties of deployments that users have changed on the server. `prefect deploy` alone would reset them.

A Prefect variable holds digests of the values that the last registration took from the file. A value on the server that
differs from them was changed by a user. The file is deployed with that value, so that the change is never undone.
"""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from prefect.client.schemas.responses import DeploymentResponse
from prefect.variables import Variable

from paramshare.flows.operations.deployments import Document, name_of
from paramshare.flows.operations.renaming import former_name

__all__ = ["keep_changes", "record_registered"]

_REGISTERED: Final = "paramshare_registered"
_STRATEGY: Final = "ENQUEUE"  # the default of Prefect


def keep_changes(document: Document, ours: Mapping[str, DeploymentResponse]) -> tuple[Document, dict[str, list[str]]]:
    """Return the file with the values that users have changed on the server, and the changed fields by deployment.

    If an older version registered the deployments without a record, the values of the file count as registered.
    """
    document, kept = deepcopy(document), {}
    registered = _registered()
    for entry in document["deployments"]:
        name = name_of(entry)
        if name not in ours:
            continue
        former = registered.get(name) or registered.get(former_name(name)) or _digests(_of_entry(entry))
        now = _of_deployment(ours[name])
        changed = [field for field, digest in _digests(now).items() if digest != former.get(field)]
        if differing := [field for field in changed if now[field] != _of_entry(entry)[field]]:
            kept[name] = differing
            entry.update({field: now[field] for field in differing})
    return document, kept


def record_registered(document: Document) -> None:
    """Record the values of the file after they were registered."""
    values = {name_of(entry): _digests(_of_entry(entry)) for entry in document["deployments"]}
    Variable.set(_REGISTERED, values, overwrite=True)


def _registered() -> dict[str, dict[str, str]]:
    value: object = Variable.get(_REGISTERED, default=None)
    return {str(name): dict(digests) for name, digests in value.items()} if isinstance(value, dict) else {}


def _of_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    limit = entry.get("concurrency_limit")
    return {
        "parameters": entry.get("parameters") or {},
        "tags": sorted(entry.get("tags") or []),
        "paused": bool(entry.get("paused")),
        "concurrency_limit": {"limit": limit, "collision_strategy": _STRATEGY} if isinstance(limit, int) else limit,
    }


def _of_deployment(deployment: DeploymentResponse) -> dict[str, Any]:
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    strategy = str(options.collision_strategy.value) if options else _STRATEGY
    return {
        "parameters": deployment.parameters,
        "tags": sorted(deployment.tags),
        "paused": deployment.paused,
        "concurrency_limit": {"limit": limit.limit, "collision_strategy": strategy} if limit else None,
    }


def _digests(values: Mapping[str, Any]) -> dict[str, str]:
    """Return a short digest of each value: Prefect's variables hold 5,000 characters."""
    return {
        field: hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
        for field, value in values.items()
    }
