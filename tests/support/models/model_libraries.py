"""Import the libraries whose models the tests count, with any build of torch, and build models without memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

import pytest
import torch
from torch import nn

__all__ = [
    "WARNINGS_OF_TRANSFORMERS",
    "import_torchvision",
    "import_transformers",
    "transformers_or_skip",
    "without_memory",
]

WARNINGS_OF_TRANSFORMERS = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
"""The marks of a module of tests that leave the library's own warnings alone."""

_kept: list[torch.library.Library] = []  # a definition lasts as long as its library


def import_torchvision() -> ModuleType:
    """Import torchvision with its models.

    The package's compiled part fits one build of torch, and with another (a CPU build beside the package's CUDA build)
    the import ends at its first operator that is not there. Its classifiers need none of them, so declaring the two
    that the import itself asks for is enough.

    Raises:
        ImportError: where torchvision is not installed.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the broken import left
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
        import torchvision
    import torchvision.models

    return torchvision


def import_transformers() -> ModuleType:
    """Import transformers, which imports torchvision if it is installed.

    Raises:
        ImportError: where transformers is not installed.
    """
    with suppress(ImportError):
        import_torchvision()
    import transformers

    return transformers


def transformers_or_skip() -> ModuleType:
    """Return transformers; skip the module of tests that asks if it is not installed."""
    try:
        return import_transformers()
    except ImportError:
        pytest.skip("transformers is not installed: pip install 'paramshare[zoo]'", allow_module_level=True)


@contextmanager
def without_memory() -> Iterator[None]:
    """Put every parameter of a new module in this block on the meta device.

    (`torch.device("meta")` puts every new tensor there, and ends a constructor that computes a width with one.)
    """
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:  # kept as it is where it is there, with its ties
            parameter = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "register_parameter", on_meta)
        yield
