"""No page shows a command that is refused: each is parsed by the parser of its program, and nothing is run.

`test_runs.py` runs those of paramshare that are cheap.
"""

import inspect
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

from paramshare.cli import Paramshare, _parser, main
from paramshare.commands.recipes.options import command_for
from paramshare.commands.recipes.program import program_for
from paramshare.commands.training import Train
from paramshare.recipes.target import TARGETS
from paramshare.settings import check_names
from support import ROOT
from support.user_pages import USER_PAGES, blocks, commands, name_of

OUTSIDE = {  # programs of others, and of the shell; `bash -n` reads their syntax
    "apt-get", "cd", "curl", "dask", "echo", "eval", "export", "git", "prefect", "printf", "source",
}  # fmt: skip


def parse_paramshare(*arguments: str) -> None:
    program = program_for(Paramshare, arguments)
    _, source = _parser(program.root)
    if arguments[-1] == "--help":
        with pytest.raises(SystemExit, match=r"^0$"):
            source(args=program.arguments)
    else:
        program.root(_cli_settings_source=source(args=program.arguments))  # checks every option and value


def parse_make(*arguments: str) -> None:
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def parse_docker(*arguments: str) -> None:
    if "cli" in arguments:
        parse_paramshare(*arguments[arguments.index("cli") + 1 :])
        arguments = arguments[: arguments.index("cli")]
    if arguments[-1] == "init":  # a service; what follows it would be its command
        arguments = arguments[:-1]
    if arguments[0] == "run":  # the image and a command of ours end it
        parse_paramshare(arguments[-1])
        arguments = arguments[:-2]
    if shutil.which("docker"):
        done = subprocess.run(["docker", *arguments, "--help"], capture_output=True, text=True)
        assert (done.returncode, "Usage:" in done.stdout) == (0, True), done.stderr


def parse_python(*arguments: str) -> None:
    options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    if arguments[0] == "-c":
        source = arguments[1]
        compile(source, "-c", "exec")
    elif arguments[0] == "-m":
        main = import_module(arguments[1]).main
        source = inspect.getsource(sys.modules[main.__module__])  # the program itself may only call it
    else:
        source = (ROOT / arguments[0]).read_text()
    assert [option for option in options if f'"{option}"' not in source] == []


def parse_pip(*arguments: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in arguments:
        if "[" in word:
            assert word.partition("[")[2].removesuffix("]") in extras


PARSERS: dict[str, Callable[..., None]] = {
    "docker": parse_docker,
    "make": parse_make,
    "paramshare": parse_paramshare,
    "pip": parse_pip,
    "python": parse_python,
}


@pytest.mark.parametrize("page", USER_PAGES, ids=name_of)
def test_every_command_of_a_page_is_taken_by_its_program(page: Path) -> None:
    Path("recipes").mkdir()
    for file in ("my_recipe.py", "recipes/my_recipe.py"):
        assert main(["init", file]) == 0
    for program, *arguments in sorted(commands(page)):
        name = Path(program).name
        assert name in PARSERS or name in OUTSIDE, f"{program} {arguments}: no test knows this program"
        if name in PARSERS:
            PARSERS[name](*arguments)


@pytest.mark.parametrize("page", USER_PAGES, ids=name_of)
def test_every_shell_block_of_a_page_is_valid_shell(page: Path) -> None:
    for block in blocks(page):
        if block.language == "sh":
            done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
            assert done.returncode == 0, f"{block.text}{done.stderr}"


def test_a_command_with_an_unknown_option_is_detected() -> None:
    with pytest.raises(Exception, match="did you mean --seeds"):
        parse_paramshare("train", "--sedes", "0:3")
    with pytest.raises(Exception, match="a < b"):
        parse_paramshare("train", "--seeds", "3:0")
    with pytest.raises(AssertionError, match="nonesuch"):
        parse_make("nonesuch")


@pytest.mark.parametrize("page", USER_PAGES, ids=name_of)
def test_every_settings_file_on_a_page_is_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            (tmp_path / "paramshare.toml").write_text(block.text)
            check_names()
            settings: BaseSettings = command_for(Train, TARGETS["dynamicnet"])()
            assert settings.model_dump(include=set(tomllib.loads(block.text)))


@pytest.mark.parametrize("page", USER_PAGES, ids=name_of)
def test_every_stack_setting_on_a_page_is_in_the_compose_file(page: Path) -> None:
    known = (ROOT / "docker" / "compose.yaml").read_text()
    assert yaml.safe_load(known)["services"]
    names = [line.partition("=")[0] for block in blocks(page) if block.language == "ini" for line in block.text.split()]
    own = [name for name in names if not name.startswith("COMPOSE_")]  # these are Compose's
    assert [name for name in own if f"${{{name}" not in known] == []


def test_make_bench_finds_the_place_of_its_table() -> None:
    page = (ROOT / "docs" / "speed.md").read_text()
    assert 0 < page.index("<!-- benchmarks -->\n") < page.index("<!-- /benchmarks -->")
