"""Train and compare from Python: a script or a notebook.

study = ps.study(Spirals(width=64), seeds=range(30))
study.to_dataframe()
study.report("study.html")
study                       # shows itself in a notebook
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

from paramshare.errors import SpecError
from paramshare.recipes.loading.files import stop_if_loaded
from paramshare.recipes.recipe import Recipe
from paramshare.training.choice import Engine

if TYPE_CHECKING:
    from paramshare.recipes.spec import Spec
    from paramshare.results import StudyResult, TrainingResult
    from paramshare.training.result import Result

__all__ = ["study", "train"]


@overload
def train(recipe: Recipe | type[Recipe], engine: Engine = "auto", **options: Any) -> "TrainingResult": ...
@overload
def train(recipe: "Spec", engine: Engine = "auto") -> "Result": ...


def train(recipe: Any, engine: Engine = "auto", **options: Any) -> Any:
    """Train a recipe with many seeds, each a run in MLflow; or one spec, such as `TrainSpec(seed=0)`, without MLflow.

    A spec is trained in this process (see `paramshare.training.engines.train`). A recipe is trained as by
    `paramshare train`: on all cores, and only the runs that the store does not hold yet.

    Args:
        recipe: a recipe with its options, such as `Spirals(width=64)`; or a spec.
        engine: how runs are computed. Defaults to auto.
        options: of a recipe: see `study`; `variants` defaults to the first one.

    Returns:
        The result of a spec; of a recipe the runs, with `to_dataframe`.

    Raises:
        UsageError: a value is not valid, or the recipe cannot be trained. Nothing is written then.
        ServerError: the store failed.
    """
    stop_if_loaded()
    if not _is_recipe(recipe):
        if options:
            raise SpecError(f"{next(iter(options))} is for recipes; a spec names its seed, variant and device itself")
        from paramshare.training.engines import train as train_spec

        return train_spec(recipe, engine)
    from paramshare.results import trained

    return trained(_instance(recipe), engine=engine, **options)


def study(
    recipe: Recipe | type[Recipe],
    *,
    seeds: str | Iterable[int] = "0:10",
    variants: str | Iterable[str] | None = None,
    devices: str | Iterable[str] = "auto",
    experiment: str = "paramshare",
    tracking_uri: str | None = None,
    **options: Any,
) -> "StudyResult":
    """Train every variant of a recipe with the same seeds and compare the variants, as `paramshare study` does.

    Args:
        recipe: a recipe with its options, such as `Spirals(width=64)`.
        seeds: such as `range(30)` or `"0:30"`. Defaults to 0 to 9.
        variants: the names of variants. Defaults to all.
        devices: such as `"cpu"`, `"cuda:0"`, or a list. Defaults to auto, all devices of this machine.
        experiment: MLflow's. Defaults to paramshare.
        tracking_uri: the store. Defaults to mlruns/mlflow.db in the working directory, or MLFLOW_TRACKING_URI.
        options: the other fields of `StudySpec`: `metric`, `level`, `interest`, `partial`, `force`, `workers`,
            `same_source`.

    Returns:
        The comparison, with `to_dataframe` and `report`. A notebook shows it.

    Raises:
        UsageError: a value is not valid, or the recipe cannot be trained. Nothing is written then.
        ServerError: the store failed.
    """
    stop_if_loaded()
    if not _is_recipe(recipe):
        raise SpecError(f"recipe is of type {type(recipe).__name__}; expected a recipe, such as Spirals(width=64)")
    from paramshare.results import studied

    return studied(
        _instance(recipe),
        seeds=seeds,
        variants=variants,
        devices=devices,
        experiment=experiment,
        tracking_uri=tracking_uri,
        **options,
    )


def _is_recipe(given: object) -> bool:
    return isinstance(given, Recipe) or (isinstance(given, type) and issubclass(given, Recipe))


def _instance(recipe: Recipe | type[Recipe]) -> Recipe:
    return recipe() if isinstance(recipe, type) else recipe
