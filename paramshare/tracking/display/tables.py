"""A table among a run's artifacts, in the form that MLflow's pages show as one."""

import json
from collections.abc import Mapping, Sequence

__all__ = ["table_artifact"]


def table_artifact(name: str, table: Mapping[str, Sequence[object]]) -> tuple[str, dict[str, str]]:
    """The content of a file for the top of a run's artifacts, and the tag by which MLflow's pages know it as a table.

    Args:
        name: the file's.
        table: the cells by column.
    """
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    tag = {"mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"}])}
    return json.dumps({"columns": list(table), "data": rows}), tag
