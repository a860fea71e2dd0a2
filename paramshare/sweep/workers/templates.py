"""The templates of the models of a sweep, made once for all of its workers. Importing this module loads no torch."""

from collections.abc import Sequence
from typing import Final

from paramshare.sweep.chunks import Chunk
from paramshare.training.export.kept_templates import make_templates
from paramshare.training.export.templates import Template

__all__ = ["make_chunk_templates"]

_TEMPLATES: Final = "templates"  # the folder beside an embedded store


def make_chunk_templates(chunks: Sequence[Chunk]) -> tuple[Template, ...]:
    """Return the templates of the chunks' models, made once here for all processes that write models.

    The folder `templates` beside the database of an embedded store keeps them for the next sweep.
    """
    database = chunks[0].address.database if chunks else None
    folder = database.parent / _TEMPLATES if database else None
    return make_templates((spec for chunk in chunks for spec in chunk.specs), folder)
