"""Module paths in pickles of earlier versions lead to the current twins."""

import pickle
from importlib import import_module

import pytest

from paramshare.sharing.former_paths import _MOVED

NAMES = [(module, name, place) for module, names in _MOVED.items() for name, place in names.items()]


@pytest.mark.parametrize(("module", "name", "place"), NAMES, ids=lambda text: text.removeprefix("paramshare.sharing."))
def test_former_name_in_a_pickle_is_the_current_object(module: str, name: str, place: str) -> None:
    path, _, current = place.partition(":")
    assert pickle.loads(f"c{module}\n{name}\n.".encode()) is getattr(import_module(path), current)


def test_unknown_module_of_sharing_is_still_an_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("paramshare.sharing.nothing")
