"""Templates of models kept in a folder: a process that finds one there does not export it, which takes two seconds.

Torch is imported only to export: a process that hands templates to its workers does not need it.

A file is valid for one shape of nets, one version of torch and Python, and one state of this library's code.
"""

import hashlib
import json
import platform
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final
from uuid import uuid4

from paramshare.recipes.spec import Spec
from paramshare.recipes.target import target_of
from paramshare.training.export.templates import Template

__all__ = ["make_templates"]

_WEIGHTS: Final = "paramshare-weights.json"
_SOURCES: Final = Path(__file__).parents[2]


def make_templates(specs: Iterable[Spec], folder: Path | None = None) -> tuple[Template, ...]:
    """Return the templates of all nets that `specs` train, read from `folder` or exported here.

    A net that cannot be made, as for want of memory, has none: who trains it says why.

    Args:
        folder: where templates are kept. Defaults to None: nowhere.
    """
    templates = []
    for shape in dict.fromkeys(target_of(spec).shape(spec) for spec in specs):
        with suppress(Exception):
            templates.append(_template(shape, folder))
    return tuple(templates)


def _template(shape: Spec, folder: Path | None) -> Template:
    file = folder / f"{_digest(shape)}.zip" if folder else None
    kept = _read(file, shape) if file else None
    if kept is not None:
        return kept
    from paramshare.training.export.archives import make_template

    template = make_template(shape)
    if template.error or file is None:
        return template
    with suppress(OSError):  # a full or read-only disk: the next process exports again
        _write(file, template)
    return template


def _read(file: Path, shape: Spec) -> Template | None:
    """Return a kept template; None if there is none, or not a whole one."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = tuple((name, archive.read(name)) for name in archive.namelist() if name != _WEIGHTS)
            weights = json.loads(archive.read(_WEIGHTS))
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError):
        return None
    return Template(shape, members, tuple((name, tensor) for name, tensor in weights))


def _write(file: Path, template: Template) -> None:
    """Write a template to a temporary file and rename it, so that no process reads half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{uuid4().hex}.new")  # no process id: containers share the folder
    try:
        with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in template.members:
                archive.writestr(name, content)
            archive.writestr(_WEIGHTS, json.dumps(template.weights))
        new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _digest(shape: Spec) -> str:
    """Return a hash of all that the graph of nets of a shape depends on."""
    return hashlib.sha256(f"{shape.key()} {shape.variant} {shape.recipe.digest}{_surroundings()}".encode()).hexdigest()[
        :32
    ]


@cache
def _surroundings() -> str:
    """Return the versions and a hash of the code that a graph depends on."""
    code = hashlib.sha256()
    for folder in ("recipes", "training", "sharing"):
        for file in sorted((_SOURCES / folder).rglob("*.py")):
            code.update(file.read_bytes())
    return f"{version('torch')} {platform.python_version()} {platform.machine()} {code.hexdigest()}"
