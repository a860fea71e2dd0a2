"""The deployments: the file to register, its names, and deployments that an earlier version registered."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

from paramshare.errors import SettingsError, in_a_line

__all__ = ["OURS", "Document", "check_versions", "find_file", "name_of", "names_in", "read_file", "recipe_files"]

OURS: Final = DeploymentFilter(tags=DeploymentFilterTags(all_=["paramshare"]))
"""Selects the deployments of paramshare by their tag."""

Document = dict[str, Any]
"""The content of `prefect.yaml`."""

_NAME: Final = "prefect.yaml"
_RECIPES: Final = "recipes"
_PROJECT: Final = "paramshare"
"""The `name` in the file of paramshare, and in copies that users have changed."""

_FORMER: Final = frozenset(f"flows.{flow}.{flow}" for flow in ("count", "study", "sweep", "verify"))
"""The entry points of deployments that version 0.1 registered before the flows were a part of paramshare."""

_EXPECTED: Final = "expected `deployments:`, a list in which each has a `name` and an `entrypoint`"


def find_file(given: Path | None) -> Path:
    """Return the given file, else `prefect.yaml` of this folder, else the one that is installed with the flows.

    A `prefect.yaml` of this folder that belongs to another project is not used; a line on stderr reports it.

    Raises:
        SettingsError: the given file does not exist.
    """
    if given is not None:
        if not given.is_file():
            raise SettingsError(f"there is no file {given}; name another with --file, or leave --file out")
        return given
    here, installed = Path(_NAME), Path(__file__).parents[1] / _NAME
    if not here.is_file():
        return installed
    if _is_ours(here):
        return here
    sys.stderr.write(
        f"paramshare: {_NAME} in this folder does not begin with `name: {_PROJECT}` and is not used; "
        f"name it with --file {_NAME} if it is meant\n"
    )
    return installed


def _is_ours(file: Path) -> bool:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and content.get("name") == _PROJECT


def read_file(file: Path) -> Document:
    """Return the content of a file of deployments.

    Raises:
        SettingsError: the file is not a file of deployments.
    """
    try:
        document: Document = yaml.safe_load(file.read_text())
        names_in(document)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read ({in_a_line(error)}); {_EXPECTED}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{file} is not a file of deployments ({in_a_line(error)}); {_EXPECTED}") from error
    return document


def recipe_files(given: Path | None) -> list[str]:
    """Return the Python files of a folder of recipes, as flow runs name them: `recipes/my_recipe.py`.

    Args:
        given: the folder. Defaults to `recipes` in this folder, if it exists.

    Raises:
        SettingsError: the given folder does not exist.
    """
    if given is not None and not given.is_dir():
        raise SettingsError(f"there is no folder {given}; name another with --recipes, or leave --recipes out")
    return sorted(str(file) for file in (given or Path(_RECIPES)).glob("*.py") if file.name != "__init__.py")


def names_in(document: Document) -> dict[str, set[str]]:
    """Return the names of a file's deployments and those of their schedules."""
    return {
        name_of(entry): {schedule["slug"] for schedule in entry.get("schedules", [])}
        for entry in document["deployments"]
    }


def name_of(entry: Mapping[str, Any]) -> str:
    """Return the name of a deployment of the file, such as `sweep/sweep-cpu`: its flow's function, then its own."""
    return f"{entry['entrypoint'].replace(':', '.').rpartition('.')[2]}/{entry['name']}"


def check_versions() -> None:
    """Check that this version can run the registered deployments of paramshare.

    Raises:
        SettingsError: an earlier version registered one of them.
    """
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments(deployment_filter=OURS)
    if any(deployment.entrypoint in _FORMER for deployment in deployments):
        raise SettingsError(
            "an earlier version of paramshare registered the deployments; run `python -m paramshare.flows.register`"
        )
