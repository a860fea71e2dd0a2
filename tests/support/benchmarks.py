"""The programs of benchmarks/, imported."""

import importlib.util
import sys
from types import ModuleType
from typing import Final

from support import ROOT

_BENCHMARKS: Final = ROOT / "benchmarks"


def load_benchmark(name: str) -> ModuleType:
    """Import a module of benchmarks/ under its own name; load those that it imports first.

    Some folders of the tests have the same names, so a path for imports would not do.
    """
    spec = importlib.util.spec_from_file_location(name, _BENCHMARKS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
