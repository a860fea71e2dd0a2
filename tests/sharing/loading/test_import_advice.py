"""A failed import with a known cause gets advice, and the advice works."""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

from paramshare.errors import SpecError
from paramshare.sharing.loading.import_paths import import_object
from paramshare.sharing.loading.models import load_model
from paramshare.sharing.loading.user_code import process_state_restored


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    with process_state_restored():
        yield


def refused(path: str) -> str:
    with pytest.raises(SpecError) as error:
        import_object(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def package(*lines: str) -> Path:
    """Write a package of this test's own with a module that needs the package, and return the module's file."""
    folder = Path("own/models")
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").touch()
    (folder / "blocks.py").write_text("width = 4")
    file = folder / "net.py"
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize("line", ["from .blocks import width", "from own.models.blocks import width"])
def test_error_for_a_file_of_a_package_gives_its_dotted_path(line: str) -> None:
    said = refused(f"{package(line)}:width")
    assert said.endswith("; the file is part of a package: name it as own.models.net:width")
    assert import_object("own.models.net:width") == 4


def test_error_from_within_a_package_also_gives_the_folder_to_run_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(package("from .blocks import width").parent)
    assert refused("net.py:width").endswith(f": name it as own.models.net:width and run from {tmp_path}")


def test_error_for_a_module_that_imports_neighbours_gives_its_file_path() -> None:
    package("from blocks import width")
    assert refused("own.models.net:width").endswith("; own/models/net.py imports its neighbours as a script does: "
                                                    "name it as own/models/net.py:width")  # fmt: skip
    assert import_object("own/models/net.py:width") == 4


def test_missing_library_gets_no_advice_about_packages() -> None:
    said = refused(f"{package('import not_installed_anywhere')}:width")
    assert said.endswith("failed: ModuleNotFoundError: No module named 'not_installed_anywhere'")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nets.py", "expected nets.py:NAME, with the name of the class or function in that file"),
        ("nets.py:", "expected nets.py:NAME"),
        ("own.models.net.Net", "expected pkg.module:name, such as own.models.net:Net, or"),
    ],
)
def test_error_for_a_path_without_a_name_gives_the_completed_path(path: str, said: str) -> None:
    assert said in refused(path)


MISSING = "raise RuntimeError('operator torchvision::nms does not exist')"


@pytest.mark.parametrize(
    ("build", "end"),
    [
        ("2.13.0+cpu", " --index-url https://download.pytorch.org/whl/cpu"),
        ("2.13.1+cu130", " --index-url https://download.pytorch.org/whl/cu130"),
        ("2.13.0", ", from the index that torch came from"),
        ("2.13.0a0+git1234567", ", from the index that torch came from"),
    ],
)
def test_error_for_a_torchvision_without_operators_gives_the_matching_version(
    build: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", build)
    monkeypatch.setattr("paramshare.sharing.loading.import_advice.version", lambda name: "0.99.0")
    Path("net.py").write_text(MISSING)
    assert refused("net.py:Net") == (
        f"importing net.py failed: torchvision 0.99.0 was not built for the torch {build} that is installed (operator "
        "torchvision::nms does not exist); install the matching build: pip install --force-reinstall --no-deps "
        f"'torchvision==0.28.*'{end}"
    )


def test_matching_torchvision_is_the_version_that_the_tests_use() -> None:
    """The extra `zoo` pins the torchvision that was released for the torch of the dependencies."""
    requires = metadata.requires("paramshare") or []
    assert any(line.startswith("torchvision") and ">=0.28" in line for line in requires)
    assert any(line.startswith("torch<2.14") or ">=2.13" in line for line in requires)


@pytest.mark.parametrize(
    "source",
    [
        f"try:\n    {MISSING}\nexcept RuntimeError as error:\n    raise ImportError('no models') from error",
        f"try:\n    {MISSING}\nexcept RuntimeError as error:\n    raise ValueError(f'because {{error}}') from None",
        "raise OSError('/x/site-packages/torchvision/_C.so: undefined symbol: _ZN3c105ErrorE')",
    ],
)
def test_import_advice_finds_the_cause_in_wrapped_errors(source: str) -> None:
    Path("net.py").write_text(source)
    assert "install the matching build: pip install --force-reinstall --no-deps 'torchvision==0." in refused(
        "net.py:Net"
    )


def test_import_advice_also_covers_imports_while_the_model_is_built() -> None:
    Path("net.py").write_text(f"def Net():\n    {MISSING}")
    with pytest.raises(
        SpecError, match=r"^building net\.py:Net with no arguments failed: torchvision .* matching build"
    ):
        load_model("net.py:Net")


def test_import_advice_for_an_unknown_library_gives_no_version() -> None:
    Path("net.py").write_text("raise RuntimeError('operator torch_scatter::max does not exist')")
    assert "install the matching build: pip install --force-reinstall --no-deps torch_scatter" in refused("net.py:Net")
    assert "net" not in sys.modules
