"""Tables among a run's artifacts, in the format that MLflow's pages show as a table."""

import json
from collections.abc import Mapping, Sequence

from paramshare.tracking.tags import LOGGED_ARTIFACTS

__all__ = ["table_artifact"]


def table_artifact(name: str, table: Mapping[str, Sequence[object]]) -> tuple[str, dict[str, str]]:
    """Return the content of a file, and the tag by which MLflow's pages recognize the file as a table.

    Args:
        name: of the file, which must be in the top folder of the run's artifacts.
        table: the cells by column.
    """
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    tag = {LOGGED_ARTIFACTS: json.dumps([{"path": name, "type": "table"}])}
    return json.dumps({"columns": list(table), "data": rows}), tag
