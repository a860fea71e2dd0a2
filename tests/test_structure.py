"""Test the design's rules of import: they point one way, heavy libraries live in one place, the top is light."""

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import paramshare
from paramshare.cli import main
from paramshare.tracking.store import StoreAddress
from support.command_line import SMALL

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "paramshare").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])

# Every part, and the parts that it may import. Longest prefix counts; a part may always import itself.
ALLOWED = {
    "paramshare": {"paramshare.recipes", "paramshare.sharing", "paramshare.training"},  # imported when used
    "paramshare.api": {
        "paramshare.errors", "paramshare.recipes", "paramshare.results", "paramshare.training",
    },
    "paramshare.results": {
        "paramshare.comparing", "paramshare.console", "paramshare.errors", "paramshare.plots", "paramshare.recipes",
        "paramshare.setting_origins", "paramshare.settings", "paramshare.sweep", "paramshare.tracking.store",
        "paramshare.validation",
    },
    "paramshare.recipes.template": {"paramshare"},  # a recipe of a user
    "paramshare.recipes.recipe": {  # the defaults of its methods, imported when used
        "paramshare.recipes", "paramshare.training.export.programs", "paramshare.training.loop",
    },
    "paramshare.recipes.checking": {
        "paramshare.errors", "paramshare.recipes", "paramshare.sharing", "paramshare.training",
    },
    "paramshare.errors": set(),
    "paramshare.markdown": set(),
    "paramshare.processes": {"paramshare.errors"},
    "paramshare.signals": set(),
    "paramshare.tables": set(),
    "paramshare.sharing": {"paramshare.errors"},
    "paramshare.sharing.former_paths": set(),
    "paramshare.sharing.text": set(),
    "paramshare.sharing.formulas": {"paramshare.errors", "paramshare.sharing.text"},
    "paramshare.sharing.article": {"paramshare.sharing.formulas"},
    "paramshare.sharing.report": {"paramshare.errors", "paramshare.plots", "paramshare.sharing.text"},
    "paramshare.sharing.tensors": {"paramshare.errors"},
    "paramshare.sharing.inputs": {"paramshare.errors", "paramshare.sharing.tensors"},
    "paramshare.sharing.loading": {"paramshare.errors", "paramshare.sharing.inputs", "paramshare.signals"},
    "paramshare.sharing.tracing": {"paramshare.errors", "paramshare.sharing.inputs", "paramshare.sharing.tensors"},
    "paramshare.sharing.tracing.weights": {"paramshare.sharing.tensors"},
    "paramshare.sharing.tracing.operations": {"paramshare.sharing.tensors", "paramshare.sharing.tracing.weights"},
    "paramshare.sharing.tracing.values": {
        "paramshare.errors", "paramshare.sharing.tensors", "paramshare.sharing.tracing.operations",
    },
    "paramshare.sharing.report_checks": {
        "paramshare.sharing.report", "paramshare.sharing.tensors", "paramshare.sharing.tracing",
    },
    "paramshare.sharing.analyze": {
        "paramshare.errors", "paramshare.sharing.inputs", "paramshare.sharing.report",
        "paramshare.sharing.report_checks", "paramshare.sharing.tensors", "paramshare.sharing.tracing",
        "paramshare.torch_modes",
    },
    "paramshare.sharing.twins": {
        "paramshare.errors", "paramshare.sharing.inputs", "paramshare.sharing.tensors", "paramshare.sharing.text",
        "paramshare.sharing.tracing", "paramshare.torch_modes",
    },
    "paramshare.sharing.twins.layers": {
        "paramshare.errors", "paramshare.sharing.inputs", "paramshare.sharing.tensors",
    },
    "paramshare.sharing.twins.depth": {
        "paramshare.errors", "paramshare.sharing.tensors", "paramshare.sharing.twins.observed_pass",
        "paramshare.sharing.twins.replacement",
    },
    "paramshare.sharing.twins.space": {
        "paramshare.errors", "paramshare.sharing.inputs", "paramshare.sharing.tensors", "paramshare.sharing.tracing",
        "paramshare.sharing.twins.layers", "paramshare.sharing.twins.observed_pass",
        "paramshare.sharing.twins.replacement",
    },
    "paramshare.recipes": {"paramshare.errors"},
    "paramshare.recipes.parts": set(),
    "paramshare.recipes.metrics": {"paramshare.recipes.parts"},
    "paramshare.training": {"paramshare.errors", "paramshare.recipes", "paramshare.sharing", "paramshare.torch_modes"},
    "paramshare.training.environment": {"paramshare.errors", "paramshare.recipes", "paramshare.torch_modes"},
    "paramshare.training.loop": {
        "paramshare.errors", "paramshare.recipes", "paramshare.training.environment.devices",
    },
    "paramshare.stats": {"paramshare.errors"},
    "paramshare.bands": set(),
    "paramshare.plots": {"paramshare.bands"},
    "paramshare.provenance": {"paramshare.training"},
    "paramshare.tracking": set(),
    "paramshare.tracking.tags": set(),
    "paramshare.tracking.display": {"paramshare.tracking.tags", "paramshare.recipes"},
    "paramshare.tracking.store": {
        "paramshare.errors", "paramshare.signals", "paramshare.tracking.display", "paramshare.tracking.tags",
    },
    "paramshare.tracking.read": {
        "paramshare.errors", "paramshare.recipes", "paramshare.tracking.store", "paramshare.tracking.tags",
    },
    "paramshare.tracking.write": {
        "paramshare.errors", "paramshare.tracking.read", "paramshare.tracking.store", "paramshare.tracking.tags",
        "paramshare.recipes",
    },
    "paramshare.tracking.write.kinds": {
        "paramshare.bands", "paramshare.errors", "paramshare.markdown", "paramshare.plots", "paramshare.recipes",
        "paramshare.sharing.report",
        "paramshare.sharing.text", "paramshare.tracking.display", "paramshare.tracking.read",
        "paramshare.tracking.store", "paramshare.tracking.tags", "paramshare.tracking.write", "paramshare.training",
    },
    "paramshare.tracking.registry": {
        "paramshare.errors", "paramshare.tracking.read", "paramshare.tracking.store", "paramshare.tracking.tags",
    },
    "paramshare.tracking.pages": {
        "paramshare.errors", "paramshare.processes", "paramshare.tracking.display",
        "paramshare.tracking.pages_server", "paramshare.tracking.read", "paramshare.tracking.store",
        "paramshare.tracking.tags",
    },
    "paramshare.tracking.pages_server": {"paramshare.processes", "paramshare.tracking.page_defaults"},
    "paramshare.tracking.page_defaults": set(),
    "paramshare.sweep": {
        "paramshare.bands", "paramshare.errors", "paramshare.plots", "paramshare.provenance", "paramshare.recipes",
        "paramshare.tracking", "paramshare.training",
    },
    "paramshare.sweep.lists": {"paramshare.errors", "paramshare.recipes.spec_values"},
    "paramshare.sweep.spec": {
        "paramshare.errors", "paramshare.recipes", "paramshare.sweep.form", "paramshare.sweep.lists",
        "paramshare.training",
    },
    "paramshare.sweep.form": {"paramshare.recipes", "paramshare.sweep.lists"},
    "paramshare.sweep.chunks": {"paramshare.recipes", "paramshare.tracking", "paramshare.training"},
    "paramshare.sweep.workers": {
        "paramshare.errors", "paramshare.processes", "paramshare.provenance", "paramshare.recipes",
        "paramshare.signals", "paramshare.sweep.chunks", "paramshare.tracking", "paramshare.training",
    },
    "paramshare.sweep.workers.stop_signal": set(),
    "paramshare.counting": {
        "paramshare.errors", "paramshare.markdown", "paramshare.plots", "paramshare.provenance", "paramshare.sharing",
        "paramshare.sweep.spec", "paramshare.tracking",
    },
    "paramshare.comparing": {
        "paramshare.bands", "paramshare.errors", "paramshare.markdown", "paramshare.plots", "paramshare.provenance",
        "paramshare.stats",
        "paramshare.sweep", "paramshare.tracking", "paramshare.recipes",
    },
    "paramshare.proof": {
        "paramshare.errors", "paramshare.markdown", "paramshare.provenance", "paramshare.recipes",
        "paramshare.sweep.spec",
        "paramshare.tracking", "paramshare.training",
    },
    "paramshare.settings": {"paramshare.errors", "paramshare.recipes.loading.find", "paramshare.sweep.spec"},
    "paramshare.setting_origins": {"paramshare.errors", "paramshare.settings"},
    "paramshare.validation": {"paramshare.errors"},
    "paramshare.completion": {
        "paramshare.parser", "paramshare.recipe_completion", "paramshare.sharing.formulas.layers_by_name",
        "paramshare.tracking.display.views", "paramshare.recipes",
    },
    "paramshare.recipe_completion": set(),
    "paramshare.console_recipes": {
        "paramshare.console", "paramshare.recipes", "paramshare.sharing.text", "paramshare.tables",
    },
    "paramshare.doctor": {
        "paramshare.errors", "paramshare.provenance", "paramshare.setting_origins", "paramshare.settings",
        "paramshare.tracking", "paramshare.training", "paramshare.validation",
    },
    "paramshare.console": {
        "paramshare.comparing", "paramshare.counting.report", "paramshare.progress_lines", "paramshare.proof.report",
        "paramshare.sharing.report", "paramshare.sharing.text", "paramshare.sweep", "paramshare.tables",
        "paramshare.tracking.write.spool",
    },
    "paramshare.flows": {
        "paramshare.comparing", "paramshare.counting", "paramshare.errors", "paramshare.markdown", "paramshare.plots",
        "paramshare.processes", "paramshare.proof", "paramshare.setting_origins", "paramshare.settings",
        "paramshare.sharing.report", "paramshare.sweep", "paramshare.tracking", "paramshare.training.choice",
        "paramshare.training.environment.devices", "paramshare.training.export.archives", "paramshare.recipes",
    },
    "paramshare.flows.worker": {"paramshare.flows.operations"},  # the programs that stacks and servers name
    "paramshare.flows.register": {"paramshare.flows.operations"},
    "paramshare.flows.api": {"paramshare.errors", "paramshare.processes"},
    "paramshare.flows.tasks": {
        "paramshare.errors", "paramshare.flows.context", "paramshare.recipes.spec", "paramshare.sweep",
        "paramshare.tracking", "paramshare.training",
    },
    "paramshare.flows.operations": {
        "paramshare.errors", "paramshare.flows.api", "paramshare.home", "paramshare.parser", "paramshare.processes",
        "paramshare.progress_lines", "paramshare.recipes.loading", "paramshare.settings", "paramshare.sweep.form",
        "paramshare.tracking.store", "paramshare.tracking.write.lost_sweeps",
    },
    "paramshare.commands": {
        "paramshare.comparing", "paramshare.console", "paramshare.counting", "paramshare.doctor", "paramshare.errors",
        "paramshare.flows", "paramshare.plots", "paramshare.proof", "paramshare.setting_origins", "paramshare.settings",
        "paramshare.sharing", "paramshare.sweep", "paramshare.tracking", "paramshare.training.environment.devices",
        "paramshare.validation",
    },
    "paramshare.commands.recipes": {
        "paramshare.commands.output", "paramshare.console", "paramshare.console_recipes", "paramshare.errors",
        "paramshare.parser", "paramshare.recipes", "paramshare.settings", "paramshare.sweep.spec",
        "paramshare.training.environment.devices", "paramshare.recipes.spec_values", "paramshare.validation",
    },
    "paramshare.progress_lines": set(),
    "paramshare.torch_modes": {"paramshare.errors"},
    "paramshare.parser": {"paramshare.errors"},
    "paramshare.__main__": {"paramshare.cli"},
    "paramshare.streams": {"paramshare.errors"},
    "paramshare.home": set(),
    "paramshare.cli": {
        "paramshare.commands", "paramshare.completion", "paramshare.errors", "paramshare.home", "paramshare.parser",
        "paramshare.progress_lines", "paramshare.setting_origins", "paramshare.settings", "paramshare.signals",
        "paramshare.streams",
        "paramshare.validation",
    },
}  # fmt: skip

# Each library, and the only parts that may import it.
HOMES = {
    "mlflow": ("paramshare.tracking",),
    "prefect": ("paramshare.flows",),
    "prefect_dask": ("paramshare.flows.tasks.cluster",),
    "distributed": ("paramshare.flows.tasks.cluster",),
    "dask": ("paramshare.flows.tasks.cluster",),
    "matplotlib": (  # the others: a type
        "paramshare.plots", "paramshare.comparing.figures", "paramshare.counting.report", "paramshare.sharing.report",
        "paramshare.tracking",
    ),
    "pydantic_settings": ("paramshare.settings", "paramshare.commands", "paramshare.cli"),
    "sklearn": ("paramshare.recipes.digits",),
    "scipy": ("paramshare.stats",),
    "sqlalchemy": ("paramshare.tracking",),
    "psutil": ("paramshare.processes",),
    "rich": ("paramshare.console", "paramshare.tables"),
    "shtab": ("paramshare.completion",),
    "torch": (
        "paramshare.recipes", "paramshare.sharing", "paramshare.torch_modes", "paramshare.training",
        "paramshare.tracking.write.kinds.model",
    ),
}  # fmt: skip


@cache
def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "paramshare" else ("paramshare", *parts)  # paramshare/flows is a link to flows/
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Return every module that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return frozenset(found)


def below(module: str, part: str) -> bool:
    return module == part or module.startswith(part + ".")


def part_of(module: str) -> str:
    return max((part for part in ALLOWED if below(module, part)), key=len)


@pytest.mark.parametrize("room", ["paramshare.sweep", "paramshare.flows", "paramshare.commands", "paramshare.plots"])
def test_modules_of_a_room_do_not_import_each_other_in_a_circle(room: str) -> None:
    files = {module_of(path): path for path in SOURCES if below(module_of(path), room)}
    imports = {module: imports_of(path) & files.keys() - {module} for module, path in files.items()}
    tuple(TopologicalSorter(imports).static_order())  # raises CycleError


GROUPED = "commands comparing counting flows plots proof recipes sharing stats sweep tracking training".split()


@pytest.mark.parametrize("room", [f"paramshare.{name}" for name in GROUPED])
def test_folders_and_files_of_a_room_are_small(room: str) -> None:
    files = [path for path in SOURCES if below(module_of(path), room)]
    folders = Counter(path.parent for path in files if path.name != "__init__.py")
    assert max(folders.values()) <= 9
    assert max(len(path.read_text().splitlines()) for path in files) <= 350


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(module_of(path))
    ours = {module for module in imports_of(path) if below(module, "paramshare")}
    allowed = ALLOWED[part]
    wrong = {module for module in ours if not below(module, part) and not any(below(module, one) for one in allowed)}
    assert not wrong, f"{module_of(path)} may not import {wrong}"


def test_the_flows_are_importable_under_one_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)  # as in a program that runs in a checkout
    with pytest.raises(ImportError, match=r"flows is a part of paramshare, such as in `python -m paramshare\.flows"):
        import_module("flows")


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_where_it_is_allowed(library: str) -> None:
    users = {module_of(path) for path in SOURCES if any(below(module, library) for module in imports_of(path))}
    assert users, f"nothing imports {library}: this test tests nothing"
    assert not {user for user in users if not any(below(user, home) for home in HOMES[library])}


def test_only_allowed_modules_read_the_environment() -> None:
    """Others that name os.environ pass it to a child, set what a library reads from it, or record that."""
    readers = {module_of(path) for path in SOURCES if "os.environ" in path.read_text()}
    assert readers == {
        "paramshare.cli", "paramshare.commands.flows", "paramshare.flows", "paramshare.flows.api.server",
        "paramshare.flows.operations.register", "paramshare.flows.operations.worker", "paramshare.home",
        "paramshare.progress_lines", "paramshare.provenance", "paramshare.setting_origins", "paramshare.settings",
        "paramshare.sweep.workers.forkserver", "paramshare.tracking",
        "paramshare.tracking.pages", "paramshare.tracking.pages_server", "paramshare.tracking.store.opening",
    }  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    ["import paramshare", "from paramshare import TrainSpec", "import paramshare.cli, paramshare.settings"],
)
def test_importing_the_package_loads_no_heavy_library(statement: str) -> None:
    program = f"import sys\n{statement}\nheavy = ('torch', 'mlflow', 'prefect', 'matplotlib', 'numpy', 'rich')\n"
    program += "print([name for name in heavy if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_registration_of_the_flows_loads_no_torch() -> None:
    flows = ", ".join(f"paramshare.flows.{name}" for name in ("count", "study", "sweep", "verify"))
    program = f"import sys, {flows}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_public_names_are_complete_and_importable() -> None:
    assert paramshare.__all__ == [
        "Data", "DynamicNet", "Metric", "Options", "Recipe", "Result", "SharingReport", "Step", "TrainSpec",
        "__version__", "analyze", "study", "train", "train_many", "untie",
    ]  # fmt: skip
    assert all(getattr(paramshare, name) is not None for name in paramshare.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        paramshare.nothing  # noqa: B018


LOADED_BY: "dict[str, tuple[list[str], set[str]]]" = {
    "analyze": (["analyze", "net.py:net", "--input", "4"], {"mlflow", "prefect", "scipy", "sklearn", "matplotlib"}),
    "analyze, without torch's compiler": (["analyze", "net.py:net", "--input", "4"], {"torch._dynamo", "sympy"}),
    "layer": (["layer", "linear", "--in", "4", "--out", "2"], {"torch", "mlflow", "prefect", "scipy", "numpy"}),
    "article": (["article"], {"torch", "mlflow", "prefect", "scipy", "numpy"}),
    "train, nothing to do": (  # MLflow itself imports scipy.sparse
        ["train", *SMALL, "--seeds", "0"],
        {"torch", "matplotlib", "scipy.stats", "scipy.optimize", "sklearn", "prefect"},
    ),
    "train, in workers": (["train", *SMALL, "--seeds", "1:3", "--workers", "2"], {"torch", "sklearn", "prefect"}),
    "compare": (["compare", "--partial"], {"torch", "prefect", "sklearn", "matplotlib"}),
    "ui": (["ui", "--help"], {"torch", "mlflow", "prefect", "numpy", "shtab"}),
    "relocate": (["relocate"], {"torch", "mlflow", "prefect", "numpy"}),
    "completion": (["completion", "bash"], {"torch", "mlflow", "prefect", "numpy"}),
}  # fmt: skip
"""A command, and the modules that it must not load."""


@pytest.mark.parametrize("command", LOADED_BY)
def test_a_command_loads_no_library_that_it_does_not_use(
    command: str, address: StoreAddress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(4, 2)\n")
    arguments, unwanted = LOADED_BY[command]
    if command.startswith(("train", "compare")):
        assert main(["train", *SMALL, "--seeds", "0"]) == 0
        capsys.readouterr()
    program = (
        "import sys\nfrom paramshare.cli import main\n"
        "assert main(sys.argv[1:]) == 0\nprint(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    loaded = set(done.stderr.split())
    assert {"paramshare.cli"} <= loaded, done.stderr
    assert loaded & unwanted == set()


def test_modules_beside_tests_are_in_the_support_package() -> None:
    """A program that a test runs as a process stays beside it."""
    tests = ROOT / "tests"
    modules = {path.relative_to(tests) for path in tests.rglob("*.py") if not path.name.startswith("test_")}
    elsewhere = {str(path) for path in modules if path.parts[0] != "support" and path.name != "conftest.py"}
    assert elsewhere == {"recipes/dynamicnet/plain_script.py"}
