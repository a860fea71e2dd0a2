"""Exported graphs without weights, as plain data. Importing this module loads no torch."""

from dataclasses import dataclass

from paramshare.recipes.spec import Spec

__all__ = ["Template"]


@dataclass(frozen=True, slots=True)
class Template:
    """A `.pt2` archive without its weights: some 50 kB that any process can fill, of this machine or another.

    Args:
        shape: what the graph depends on: of the nets that it is for.
        members: each file of the archive that does not depend on the weights, by its name.
        weights: the name of the file that holds each tensor of a net's `state_dict`, by the tensor's.
        error: why torch cannot export the model of a recipe; empty otherwise. Then there are no members and no weights.
    """

    shape: Spec
    members: tuple[tuple[str, bytes], ...]
    weights: tuple[tuple[str, str], ...]
    error: str = ""
