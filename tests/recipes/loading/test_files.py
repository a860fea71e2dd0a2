"""The source of a recipe is its file and the files that it imports beside it, and loads anywhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from paramshare.errors import SpecError
from paramshare.recipes.loading.files import SourceFile, digest_of, load_files, read_files


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return folder / "main.py"


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import helper", {"", "helper", "deep"}),
        ("from helper import value", {"", "helper", "deep"}),
        ("def late():\n    import helper", {"", "helper", "deep"}),
        ("import package.part", {"", "package", "package.part"}),
        ("from package import part", {"", "package", "package.part"}),
        ("import json, random, torch", {""}),
        ("import nothing_of_this_name", {""}),
        ("import main", {""}),
    ],
)
def test_the_files_of_a_recipe_are_those_that_it_imports_beside_it(
    tmp_path: Path, text: str, modules: set[str]
) -> None:
    main = write(
        tmp_path, main=text, helper="import deep\nvalue = 1", deep="import helper", random="", unused="",
        package__init="", package__part="from . import part",
    )  # fmt: skip
    (tmp_path / "package" / "init.py").rename(tmp_path / "package" / "__init__.py")
    assert {file.module for file in read_files(main)} == modules


def test_the_digest_depends_on_every_file_and_not_on_the_folder(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    mains = [write(folder, main="import helper", helper="value = 1") for folder in folders]
    first, second = (digest_of(read_files(main)) for main in mains)
    assert first == second
    write(folders[1], helper="value = 2")
    assert digest_of(read_files(mains[1])) != first


def test_a_recipe_loads_from_its_texts_where_its_files_are_missing(tmp_path: Path) -> None:
    main = write(tmp_path, main="def late():\n    import helper\n    return helper.value", helper="value = 41 + 1")
    files = read_files(main)
    main.unlink()
    (tmp_path / "helper.py").unlink()
    program = (
        "from paramshare.recipes.loading.files import SourceFile, load_files\n"
        f"print(load_files({files!r}, '{digest_of(files)}').late())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == "42\n"


def test_two_recipes_use_their_own_modules_of_one_name(tmp_path: Path) -> None:
    values = []
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        main = write(tmp_path / name, main="from helper_of_two import value", helper_of_two=f"value = {value}")
        files = read_files(main)
        values.append(load_files(files, digest_of(files)).value)
    assert values == [1, 2]


def test_a_module_that_fails_is_not_kept_as_loaded(tmp_path: Path) -> None:
    files = (SourceFile("", str(tmp_path / "main.py"), "raise ValueError('no')"),)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            load_files(files, "f" * 16)
    assert f"paramshare_recipe_{'f' * 16}" not in sys.modules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot read .* \(No such file or directory\); pass the path of a Python file"),
        (b"\xff", "is not text in UTF-8"),
        (b"x = (", r"main.py, line 1: '\(' was never closed"),
    ],
)
def test_a_file_that_is_not_python_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "main.py").write_bytes(content)
    with pytest.raises(SpecError, match=message):
        read_files(tmp_path / "main.py")
