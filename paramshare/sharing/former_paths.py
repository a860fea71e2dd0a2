"""Import twins by the module paths that they had in earlier versions, since pickled twins and users' code name them."""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Final

__all__ = ["install"]

_TWINS: Final = "paramshare.sharing.twins"

_MOVED: Final = {
    "paramshare.sharing.local": {
        "Dense": f"{_TWINS}.layers.dense:Dense",
        "LocalConv": f"{_TWINS}.layers.convolution:LocalConv",
        "LocalLinear": f"{_TWINS}.layers.linear:LocalLinear",
        "Unrolled": f"{_TWINS}.depth.unrolled:Unrolled",
        "_Axis": f"{_TWINS}.layers.convolution:_Axis",
        "_Windows": f"{_TWINS}.layers.convolution:Windows",
    },
    "paramshare.sharing.twins.attention": {"LocalAttention": f"{_TWINS}.layers.attention:LocalAttention"},
    "paramshare.sharing.twins.bilinear": {"LocalBilinear": f"{_TWINS}.layers.linear:LocalBilinear"},
    "paramshare.sharing.twins.elementwise": {
        "LocalNorm": f"{_TWINS}.layers.elementwise:LocalNorm",
        "LocalPReLU": f"{_TWINS}.layers.elementwise:LocalPReLU",
    },
    "paramshare.sharing.twins.embedding": {
        "LocalEmbedding": f"{_TWINS}.layers.embedding:LocalEmbedding",
        "LocalEmbeddingBag": f"{_TWINS}.layers.embedding:LocalEmbeddingBag",
    },
    "paramshare.sharing.twins.recurrent": {"LocalRecurrent": f"{_TWINS}.layers.recurrent:LocalRecurrent"},
    "paramshare.sharing.twins.transposed": {
        "DenseConvTranspose": f"{_TWINS}.layers.transposed:DenseConvTranspose",
        "LocalConvTranspose": f"{_TWINS}.layers.transposed:LocalConvTranspose",
    },
    "paramshare.sharing.twins.unshared": {"_check_shape": f"{_TWINS}.layers.unshared:_check_shape"},
    "paramshare.sharing.untie": {
        "AXES": f"{_TWINS}.untie:AXES",
        "UntieWarning": f"{_TWINS}.untie:UntieWarning",
        "untie": f"{_TWINS}.untie:untie",
        "_restart": f"{_TWINS}.depth.unrolled:restart_unrolled",
    },
}
"""The names of each former module, and where each name is defined now, as `module:name`."""


class _FormerPaths(MetaPathFinder, Loader):
    """A finder and loader of the former modules."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Return the spec of a former module; None for any other module."""
        return spec_from_loader(fullname, self) if fullname in _MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Fill a former module with its names."""
        for name, place in _MOVED[module.__name__].items():
            path, _, current = place.partition(":")
            setattr(module, name, getattr(import_module(path), current))


def install() -> None:
    """Make the former modules importable."""
    sys.meta_path.append(_FormerPaths())
