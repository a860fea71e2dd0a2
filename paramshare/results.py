"""The results of `ps.train` and `ps.study`: runs as a data frame, a comparison as a page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from paramshare.comparing.run import report_of, run_study
from paramshare.comparing.spec import StudySpec
from paramshare.comparing.text import Table, answers, contrast_table, footnotes, group_table, title
from paramshare.console import sweep_progress
from paramshare.errors import ParamshareError, SpecError, UsageError
from paramshare.plots import inline_picture
from paramshare.recipes.loading.find import source_of
from paramshare.recipes.recipe import Recipe
from paramshare.setting_origins import print_store_remarks
from paramshare.settings import StoreSettings
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress
from paramshare.validation import sentences_of_keys

if TYPE_CHECKING:
    from pandas import DataFrame

    from paramshare.comparing.figures import StudyFigure
    from paramshare.comparing.study import Study
    from paramshare.sweep.result import SweepResult

__all__ = ["StudyResult", "TrainingResult", "studied", "trained"]

_FORMS: Final = (".html", ".md")


@dataclass(frozen=True)
class TrainingResult:
    """The runs of a sweep.

    Args:
        sweep: the result of the sweep.
    """

    sweep: "SweepResult"

    def to_dataframe(self) -> "DataFrame":
        """Return a row for each run: seed, variant, device, run_id, status, final_loss, seconds.

        Raises:
            UsageError: pandas is not installed.
        """
        return _frame(self.sweep.as_dict()["runs"])

    def __repr__(self) -> str:
        """Return a line: what was trained, and how many runs failed."""
        return f"<{self.sweep.name}: {len(self.sweep.rows)} runs, {self.sweep.failed} failed>"


@dataclass(frozen=True, repr=False)
class StudyResult(TrainingResult):
    """The comparison of the variants of a recipe.

    Args:
        comparison: the groups side by side.
        command: the command of the study, for its report.
    """

    comparison: "Study"
    command: str

    def to_dataframe(self) -> "DataFrame":
        """Return a row for each run: seed, variant, device, run_id, every metric, the sizes and the seconds.

        Raises:
            UsageError: pandas is not installed.
        """
        runs = [run for group in self.comparison.grouped.groups for run in group.runs]
        return _frame(
            [
                {"seed": run.seed, "variant": run.variant, "device": run.device, "run_id": run.run_id, **run.scores}
                for run in runs
            ]
        )

    def report(self, file: str | Path) -> Path:
        """Write the whole report with figures and return its path.

        Args:
            file: ends in .html or .md.

        Raises:
            UsageError: the name has another ending, or the file cannot be written.
        """
        path = Path(file)
        if path.suffix not in _FORMS:
            raise UsageError(f"file is {str(file)!r}; expected a name that ends in {' or '.join(_FORMS)}")
        text = report_of(self.comparison, "html" if path.suffix == ".html" else "md", self.command)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error
        return path

    def __repr__(self) -> str:
        """Return the answers as text."""
        return "\n".join([title(self.comparison), *answers(self.comparison)])

    def _repr_html_(self) -> str:
        """Return the answers, the figures and the tables, for a notebook."""
        study = self.comparison
        tables = [group_table(study), *([contrast_table(study)] if study.contrasts else [])]
        pictures = (
            f'<img src="{inline_picture(figure.png)}" alt="{escape(figure.alt)}" style="max-width: 32rem">'
            for figure in self._figures
        )
        return "\n".join(
            [
                f"<h3>{escape(title(study))}</h3>",
                *(f"<p>{escape(answer)}</p>" for answer in answers(study)),
                *pictures,
                *map(_html_table, tables),
                *(f"<div><small>{escape(note)}</small></div>" for note in footnotes(study)),
            ]
        )

    @cached_property
    def _figures(self) -> "tuple[StudyFigure, ...]":
        from paramshare.comparing.figures import draw

        return draw(self.comparison)


def trained(recipe: Recipe, **options: Any) -> TrainingResult:
    """Run the sweep of a recipe.

    Args:
        options: see `paramshare.api.study`; `engine`.

    Raises:
        UsageError, ServerError: see `paramshare.api.train`.
    """
    address = _address(options)
    spec = _spec(SweepSpec, recipe, {**options, "experiment": address.experiment})
    with sweep_progress() as (on_open, on_row):
        return TrainingResult(run_sweep(spec, address, _tags("train"), on_open, on_row))


def studied(recipe: Recipe, **options: Any) -> StudyResult:
    """Run the study of a recipe.

    Args:
        options: see `paramshare.api.study`.

    Raises:
        UsageError, ServerError: see `paramshare.api.study`.
        ParamshareError: runs failed, and `partial` is not set.
    """
    address = _address(options)
    spec = _spec(StudySpec, recipe, {**options, "experiment": address.experiment})
    with sweep_progress() as (on_open, on_row):
        sweep, comparison = run_study(spec, address, _tags("study"), on_open, on_row)
    if comparison is None:
        reasons = list(dict.fromkeys(row.error for row in sweep.rows if row.error))
        raise ParamshareError(
            f"{sweep.failed + sweep.kept} of {len(sweep.rows)} runs are missing ({'; '.join(reasons[:3])}); call study "
            "again to train them, or pass partial=True"
        )
    return StudyResult(sweep, comparison, spec.command)


def _spec(kind: type[SweepSpec], recipe: Recipe, options: Mapping[str, Any]) -> Any:
    """Return the spec of a sweep or a study.

    Raises:
        SpecError: a value is not valid.
    """
    values = {name: value for name, value in options.items() if name != "tracking_uri" and value is not None}
    if "seeds" in values:
        values["seeds"] = _listed(values["seeds"])
    if "variants" in values:
        values["variant"] = _listed(values.pop("variants"))
    if "devices" in values:
        values["devices"] = _listed(values["devices"])
    chosen = recipe.options.model_dump(exclude_defaults=True)
    try:
        return kind.of_recipe(source_of(type(recipe)), options=chosen, **values)
    except ValidationError as error:
        raise SpecError(sentences_of_keys(error)) from error


def _listed(value: str | Iterable[object]) -> str:
    """Return a list as the text of the command line. A range of seeds is short."""
    if isinstance(value, range) and value.step == 1 and len(value) > 1:
        return f"{value.start}:{value.stop}"
    return value if isinstance(value, str) else ",".join(map(str, value))


def _address(options: Mapping[str, Any]) -> StoreAddress:
    """Return the store: that of the arguments, or of the settings. Report which of MLflow's variables name it."""
    given = {name: options[name] for name in ("tracking_uri", "experiment") if options.get(name) is not None}
    settings = StoreSettings(**given)
    print_store_remarks(settings)
    return StoreAddress.of(settings.tracking_uri, settings.experiment)


def _tags(function: str) -> dict[str, str]:
    return {"mlflow.source.name": f"paramshare.{function}", "mlflow.source.type": "LOCAL"}


def _frame(rows: Sequence[Mapping[str, Any]]) -> "DataFrame":
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise UsageError("pandas is not installed, which data frames need; pip install pandas") from error
    return DataFrame(rows)


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
