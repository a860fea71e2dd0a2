"""paramshare: what does sharing weights buy?

import paramshare as ps

report = ps.analyze(model, input_size=(3, 224, 224))
report.totals.shared, report.totals.unshared, report.totals.dense, report.totals.factor
twin = ps.untie(model, axes={"tie", "depth", "space"}, input_size=(3, 224, 224))

result = ps.train(ps.TrainSpec(seed=0))
result.losses        # 500 losses, bit for bit those of the plain PyTorch loop

study = ps.study(Spirals(width=64), seeds=range(30))    # a recipe of yours: every variant, compared
study.report("study.html")
"""

TYPE_CHECKING = False  # typing takes 8 ms, in which Ctrl-C would be a traceback of the command line

if TYPE_CHECKING:
    __version__: str
    from paramshare.api import study, train
    from paramshare.recipes.dynamicnet.net import DynamicNet
    from paramshare.recipes.dynamicnet.recipe import TrainSpec
    from paramshare.recipes.parts import Data, Metric, Options, Step
    from paramshare.recipes.recipe import Recipe
    from paramshare.sharing.analyze import analyze
    from paramshare.sharing.report import SharingReport
    from paramshare.sharing.twins.untie import untie
    from paramshare.training.engines import train_many
    from paramshare.training.result import Result

__all__ = [
    "Data",
    "DynamicNet",
    "Metric",
    "Options",
    "Recipe",
    "Result",
    "SharingReport",
    "Step",
    "TrainSpec",
    "__version__",
    "analyze",
    "study",
    "train",
    "train_many",
    "untie",
]

_HOMES = {
    "Data": "paramshare.recipes.parts",
    "DynamicNet": "paramshare.recipes.dynamicnet.net",
    "Metric": "paramshare.recipes.parts",
    "Options": "paramshare.recipes.parts",
    "Recipe": "paramshare.recipes.recipe",
    "SharingReport": "paramshare.sharing.report",
    "Step": "paramshare.recipes.parts",
    "Result": "paramshare.training.result",
    "TrainSpec": "paramshare.recipes.dynamicnet.recipe",
    "analyze": "paramshare.sharing.analyze",
    "study": "paramshare.api",
    "train": "paramshare.api",
    "train_many": "paramshare.training.engines",
    "untie": "paramshare.sharing.twins.untie",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import paramshare` needs no torch (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("paramshare")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
