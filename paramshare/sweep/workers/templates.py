"""The templates of the models of a sweep, made once for all of its workers. Importing this module loads no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from paramshare.sweep.chunks import Chunk
from paramshare.tracking.store import LOCAL_FOLDER, StoreAddress
from paramshare.training.export.kept_templates import make_templates
from paramshare.training.export.templates import Template

__all__ = ["make_chunk_templates"]

_TEMPLATES: Final = "templates"


def make_chunk_templates(chunks: Sequence[Chunk]) -> tuple[Template, ...]:
    """Return the templates of the chunks' models, made once here for all processes that write models.

    An embedded store keeps them for the next sweep in the folder `templates` beside its database. For a sweep into a
    server they are kept in `mlruns/templates` of the working directory, but only if `mlruns` exists, as it does for a
    Prefect worker.
    """
    folder = _folder(chunks[0].address) if chunks else None
    return make_templates((spec for chunk in chunks for spec in chunk.specs), folder)


def _folder(address: StoreAddress) -> Path | None:
    if address.database:
        return address.database.parent / _TEMPLATES
    return LOCAL_FOLDER / _TEMPLATES if LOCAL_FOLDER.is_dir() else None
