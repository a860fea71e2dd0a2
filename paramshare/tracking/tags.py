"""Names of the tags, parameters, metrics and artifacts of runs.

Stores that exist contain these names. Metrics of a single training are named in `recipes.metrics`.
"""

from typing import Final

__all__ = [
    "ALIVE_UNTIL",
    "CLOSED",
    "COMMIT",
    "CURVES_FILE",
    "DATASET_CONTEXT",
    "DEVICE",
    "DIVERGED",
    "DIVERGED_AT",
    "ENGINE",
    "ENGINE_REASON",
    "ERROR",
    "FLOW_RUN",
    "FORCED",
    "KEY",
    "KIND",
    "LOGGED_ARTIFACTS",
    "MEMORY",
    "MODEL_NAME",
    "MODEL_WEIGHTS",
    "NOTE",
    "NOT_EXPORTED",
    "ORDER",
    "OWNER",
    "PARENT",
    "PREFIX",
    "RECIPE",
    "RECIPE_DIGEST",
    "RUNS_DONE",
    "RUNS_FINISHED",
    "RUN_COLOR",
    "RUN_NAME",
    "SAVED_VIEW",
    "SETTLED",
    "SETTLING",
    "SHARING",
    "SOURCE",
    "SWEEP_KEY",
    "TABLE_FILE",
    "TARGET",
    "THREADS",
    "USER",
    "VARIANT",
    "WEIGHTS_FILE",
    "loss_metric",
]

# Tags of paramshare.

PREFIX: Final = "paramshare."

KIND: Final = f"{PREFIX}kind"
"""The kind of a run: `seed`, `sweep` or `count`."""

KEY: Final = f"{PREFIX}key"
"""The key of a seed's spec."""

RECIPE: Final = f"{PREFIX}recipe"
"""The description of a seed's recipe, as JSON; runs of the built-in targets have none."""

RECIPE_DIGEST: Final = f"{RECIPE}_digest"
"""A hash of the source of a seed's recipe."""

VARIANT: Final = f"{PREFIX}variant"
DEVICE: Final = f"{PREFIX}device"
THREADS: Final = f"{PREFIX}threads"

ENGINE: Final = f"{PREFIX}engine"
ENGINE_REASON: Final = f"{PREFIX}engine_reason"

DIVERGED: Final = f"{PREFIX}diverged"
"""`true` if a loss is not finite."""

DIVERGED_AT: Final = f"{DIVERGED}_at"
"""The first step whose loss is not finite."""

NOT_EXPORTED: Final = f"{PREFIX}not_exported"
"""Why a run has weights but no model that MLflow can load."""

ERROR: Final = f"{PREFIX}error"
"""The reason of a FAILED run."""

ORDER: Final = f"{PREFIX}order"
"""The sort key of a seed's run. MLflow's pages sort parameters as text: seed 10 comes before seed 2."""

SWEEP_KEY: Final = f"{PREFIX}sweep_key"
"""A hash of the keys of all specs of a sweep."""

OWNER: Final = f"{PREFIX}owner"
"""The process that runs a sweep, as JSON."""

ALIVE_UNTIL: Final = f"{PREFIX}alive_until"
"""The end of the owner's lease, in milliseconds since 1970."""

FORCED: Final = f"{PREFIX}forced"
"""`true` for a sweep that trains specs which the store already has."""

FLOW_RUN: Final = "prefect.flow_run_id"
"""The id of the Prefect flow run that wrote the run."""

CLOSED: Final = f"{PREFIX}closed"
"""When, by whom and why an orphaned run was closed."""

SETTLING: Final = f"{PREFIX}settling"
"""`true` while a sweep deduplicates its runs or waits for its turn."""

SETTLED: Final = f"{PREFIX}settled"
"""`true` if no run of the sweep will be deleted as a duplicate. In an embedded store a sweep has it from the start."""

# Tags of MLflow.

PARENT: Final = "mlflow.parentRunId"
NOTE: Final = "mlflow.note.content"
RUN_NAME: Final = "mlflow.runName"
RUN_COLOR: Final = "mlflow.runColor"
USER: Final = "mlflow.user"
SOURCE: Final = "mlflow.source."
COMMIT: Final = f"{SOURCE}git.commit"
LOGGED_ARTIFACTS: Final = "mlflow.loggedArtifacts"

DATASET_CONTEXT: Final = "mlflow.data.context"
"""A tag of a run's dataset."""

SAVED_VIEW: Final = "mlflow.sharedViewState."
"""The prefix of an experiment's tags that hold saved views."""

# Parameters and metrics.

TARGET: Final = "target"
"""The parameter that names the training target."""

RUNS_DONE: Final = "runs/done"
RUNS_FINISHED: Final = "runs/finished"

SHARING: Final = "sharing/"
"""The prefix of a count's metrics of parameters and MACs."""

MEMORY: Final = "memory/"
"""The prefix of a count's metrics in bytes."""

# Artifacts.

MODEL_NAME: Final = "model"
"""The name of a seed's model: `runs:/<run id>/model`. In runs of former versions it is a folder of the artifacts."""

MODEL_WEIGHTS: Final = "data/model.pt2"
"""The file with the graph and the weights, in the folder of a model."""

WEIGHTS_FILE: Final = "weights.safetensors"
"""The weights of a recipe's model that torch cannot export as a graph."""

CURVES_FILE: Final = "loss_curves.png"
"""The figure of a sweep's loss curves."""

TABLE_FILE: Final = "seeds.json"
"""The table of a sweep's runs."""


def loss_metric(statistic: str, group: str) -> str:
    """Return the name of a sweep's metric, such as `loss/median/shared-cpu`."""
    return f"loss/{statistic}/{group}"
