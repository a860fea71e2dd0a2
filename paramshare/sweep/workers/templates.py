"""The templates of the models of a sweep, made once for all of its workers. Importing this module loads no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from paramshare.sweep.chunks import Chunk
from paramshare.tracking.store import StoreAddress
from paramshare.training.export.kept_templates import make_templates
from paramshare.training.export.templates import Template

__all__ = ["make_chunk_templates"]

_TEMPLATES: Final = "templates"
_LOCAL: Final = Path("mlruns")  # of the working directory; a worker of Prefect has one


def make_chunk_templates(chunks: Sequence[Chunk]) -> tuple[Template, ...]:
    """Return the templates of the chunks' models, made once here for all processes that write models.

    They are kept for the next sweep in the folder `templates` beside the database of an embedded store. With a server
    that folder is in `mlruns` of the working directory if there is one, as a worker has.
    """
    folder = _folder(chunks[0].address) if chunks else None
    return make_templates((spec for chunk in chunks for spec in chunk.specs), folder)


def _folder(address: StoreAddress) -> Path | None:
    if address.database:
        return address.database.parent / _TEMPLATES
    return _LOCAL / _TEMPLATES if _LOCAL.is_dir() else None
