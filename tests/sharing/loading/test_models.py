"""Models load by import path, on the meta device if possible, and wrong paths are refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.loading.models import load_model

SOURCE = """
from torch import nn
import torch

class Net(nn.Linear):
    def __init__(self, width: int = 4) -> None:
        super().__init__(width, width)

class Needs(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()

class Reads(nn.Linear):
    def __init__(self) -> None:
        super().__init__(int(torch.linspace(3, 4, 2)[0]), 2)

def build(width: int = 2, deep: bool = False) -> nn.Module:
    return nn.Sequential(*(Net(width) for _ in range(3 if deep else 1)))

def fails() -> nn.Module:
    raise RuntimeError("no such weights\\non this machine")

def nothing() -> None:
    pass

made = Net(7)
number = 7

class Zoo:
    inner = Net
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Write a module that no other test has imported to the working directory, and return its name."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"nets_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    return name


@pytest.mark.parametrize("path", ["{}:Net", "{}.py:Net", "./{}.py:Net", "{}:Zoo.inner", "{}:build", "{}:made"])
def test_models_load_from_a_class_function_or_module_in_a_package_or_file(path: str, folder: str) -> None:
    assert isinstance(load_model(path.format(folder)), nn.Module)


def test_models_are_built_on_the_meta_device_unless_the_constructor_reads_values(folder: str) -> None:
    assert next(load_model(f"{folder}:Net", {"width": 1 << 20}).parameters()).is_meta
    reading = load_model(f"{folder}:Reads")
    assert isinstance(reading, nn.Linear)
    assert (reading.in_features, reading.weight.device.type) == (3, "cpu")
    assert torch.get_default_device().type == "cpu"


def test_model_arguments_are_passed_by_name(folder: str) -> None:
    model = load_model(f"{folder}:build", {"width": 5, "deep": True})
    assert sum(parameter.numel() for parameter in model.parameters()) == 3 * 30


@pytest.mark.parametrize(
    ("path", "arguments", "said"),
    [
        ("resnet50", {}, "'resnet50' is not an import path; expected pkg.module:name or path/to/file.py:name"),
        ("nowhere.nets:Net", {}, "module 'nowhere' of nowhere.nets was not found"),
        ("nowhere.py:Net", {}, "file 'nowhere.py' does not exist"),
        ("torch.nn:Linnear", {}, "there is no 'Linnear' in torch.nn; did you mean Linear?"),
        ("{}:Needs", {}, "cannot be called with no arguments: missing a required argument: 'width'"),
        ("{}:Net", {"depth": 3}, "cannot be called with depth=3: got an unexpected keyword argument 'depth'"),
        ("{}:made", {"width": 3}, "is a model already and takes no arguments"),
        ("{}:number", {}, "is a int; expected a torch.nn.Module, or a class or function that returns a module"),
        ("{}:nothing", {}, "returned a NoneType; expected a torch.nn.Module"),
        ("{}:fails", {}, "failed: RuntimeError: no such weights"),
        ("{}:Net", {"width": "wide"}, "failed: TypeError: "),
    ],
)
def test_paths_that_do_not_lead_to_a_model_are_refused_in_one_line(
    path: str, arguments: dict[str, object], said: str, folder: str
) -> None:
    with pytest.raises(SpecError) as refused:
        load_model(path.format(folder), arguments)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_failing_import_is_distinguished_from_a_missing_module(tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere")
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(SpecError, match=r"importing needs_more failed: ModuleNotFoundError: .*not_installed_anywhere"):
        load_model("needs_more:Net")
    with pytest.raises(SpecError, match=r"importing broken\.py failed: ZeroDivisionError: division by zero"):
        load_model("broken.py:Net")
