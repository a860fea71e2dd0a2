"""`paramshare compare` and `study`: groups of runs side by side, in numbers with n and an interval."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from paramshare.commands.options import address_of, curves_place, flush_command, pages_place, spec_of
from paramshare.commands.output import check_file, print_result, write_file
from paramshare.commands.recipes.options import TrainingCommand
from paramshare.comparing.spec import CompareSpec, StudySpec
from paramshare.errors import UsageError
from paramshare.settings import StoreSettings
from paramshare.sweep.spec import ExperimentName

if TYPE_CHECKING:
    from paramshare.comparing.study import Study as Comparison
    from paramshare.sweep.result import SweepResult

__all__ = ["Compare", "Study", "StudyCommand"]

_FORMS: Final[dict[str, Literal["html", "md"]]] = {".html": "html", ".md": "md"}


class Compare(StoreSettings, CompareSpec):
    """Compare the runs of an experiment in groups: the numbers of each group and of each pair of groups.

    paramshare compare paramshare --by variant --metric final/loss_depth_2 --report study.html
    """

    model_config = SettingsConfigDict(extra="ignore")

    experiment: CliPositionalArg[ExperimentName] = Field(
        "paramshare", description=CompareSpec.model_fields["experiment"].description
    )
    report: Path | None = Field(None, description="write the whole report to this file: .html or .md")
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of tables")

    def cli_cmd(self) -> None:
        """Read the runs, compare them, and print the comparison."""
        from paramshare.comparing.run import compare, report_of
        from paramshare.console import print_study, working

        if self.report is not None:
            _check_report(self.report)
        spec = spec_of(self, CompareSpec)
        with working("reading the runs"):
            comparison = compare(spec, address_of(self), curves=self.report is not None)
        if self.report is not None:
            write_file(self.report, report_of(comparison, _FORMS[self.report.suffix], spec.command).encode())
        view = pages_place(self, "--view", comparison.grouped.target.name)
        print_result(comparison, self.as_json, partial(print_study, report=self.report), view)


class StudyCommand(StoreSettings, TrainingCommand):
    """The options and the output of commands that run a study."""

    model_config = SettingsConfigDict(extra="ignore")

    options_from = StudySpec

    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of tables")

    def spec(self) -> StudySpec:
        """Return the spec of the study, without the options of the store and the output."""
        return StudySpec(**self.sweep_values())

    def finish(self, result: "tuple[SweepResult, Comparison | None]") -> NoReturn:
        """Print the result and exit with its code.

        Args:
            result: the result of the sweep, and the comparison; None if runs are missing.
        """
        from paramshare.console import print_study, print_sweep

        sweep, comparison = result
        if comparison is None:
            show = partial(print_sweep, curves=curves_place(self, sweep), flush_command=flush_command(self))
            print_result(sweep, self.as_json, show, pages_place(self), incomplete=True)
        view = pages_place(self, "--view", comparison.grouped.target.name)
        incomplete = sweep.failed or sweep.kept
        print_result(comparison, self.as_json, partial(print_study, report=None), view, incomplete=incomplete)


class Study(StudyCommand):
    """Train every variant of a recipe with the same seeds, compare the variants, and store a report with the sweep.

    paramshare study --variant shared,untied --seeds 0:100 --devices auto
    paramshare study digits --seeds 0:30
    paramshare study digits --help                  # the options of another recipe
    """

    def cli_cmd(self) -> None:
        """Run the sweep in this process and its own pools, then compare."""
        from paramshare.comparing.run import run_study
        from paramshare.console import sweep_progress

        with sweep_progress(flush_command(self)) as (on_open, on_row):
            tags = {"mlflow.source.name": "paramshare study", "mlflow.source.type": "LOCAL"}
            result = run_study(self.spec(), address_of(self), tags, on_open, on_row)
        self.finish(result)


def _check_report(report: Path) -> None:
    if report.suffix not in _FORMS:
        raise UsageError(f"--report is {str(report)!r}; expected a file that ends in {' or '.join(_FORMS)}")
    check_file(report)
