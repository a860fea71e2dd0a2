"""`paramshare compare`, `study` and `flow study`: groups of runs side by side, in numbers with n and an interval."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from paramshare.commands.answer import answer
from paramshare.commands.files import check_place, write_whole
from paramshare.commands.store import address_of, curves_place, flush_command, ui_command
from paramshare.commands.training import devices_of, flow_prepared
from paramshare.comparing.spec import CompareSpec, StudySpec
from paramshare.errors import UsageError
from paramshare.settings import DaskSettings, StoreSettings
from paramshare.sweep.spec import ExperimentName

if TYPE_CHECKING:
    from paramshare.comparing.study import Study as StudyResult
    from paramshare.sweep.run import Outcome

__all__ = ["Compare", "FlowStudy", "Study"]

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
        """Read, compare, and show what came out."""
        from paramshare.comparing.run import compare, report_of
        from paramshare.console import print_study, working

        if self.report is not None:
            _check_report(self.report)
        spec = CompareSpec(**{name: getattr(self, name) for name in CompareSpec.model_fields})
        with working("reading the runs"):
            found = compare(spec, address_of(self), curves=self.report is not None)
        if self.report is not None:
            write_whole(self.report, report_of(found, _FORMS[self.report.suffix], spec.command).encode())
        answer(
            found,
            self.as_json,
            partial(print_study, report=self.report),
            ui_command(self, "--view", found.grouped.target.name),
        )


class StudyCommand(StoreSettings, StudySpec):
    """What `study` and `flow study` have in common."""

    model_config = SettingsConfigDict(extra="ignore")

    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of tables")

    def study_spec(self) -> StudySpec:
        """What to study, without where and how it is shown."""
        return StudySpec(**{name: getattr(self, name) for name in StudySpec.model_fields})

    def end(self, outcome: "Outcome", found: "StudyResult | None") -> NoReturn:
        """Print what came out and leave with the exit code."""
        from paramshare.console import print_outcome, print_study

        if found is None:
            curves = curves_place(self, outcome)
            show = partial(print_outcome, curves=curves, flush_command=flush_command(self))
            answer(outcome, self.as_json, show, ui_command(self), waits=True)
        view = ui_command(self, "--view", found.grouped.target.name)
        answer(found, self.as_json, partial(print_study, report=None), view, waits=outcome.failed or outcome.kept)


class Study(StudyCommand):
    """Train every variant with the same seeds, compare the variants, and store a report with the sweep.

    paramshare study --variant shared,untied --seeds 0:100 --devices auto
    """

    def cli_cmd(self) -> None:
        """Run the sweep in this process and its own pool, then compare."""
        from paramshare.comparing.run import run_study
        from paramshare.console import sweep_progress

        with sweep_progress(flush_command(self)) as (on_open, on_row):
            tags = {"mlflow.source.name": "paramshare study", "mlflow.source.type": "LOCAL"}
            outcome, found = run_study(self.study_spec(), address_of(self), tags, on_open, on_row)
        self.end(outcome, found)


class FlowStudy(StudyCommand, DaskSettings):
    """Run `study` as a Prefect flow, with history and a report, on your Prefect server or a temporary one.

    paramshare flow study --variant shared,untied --seeds 0:100 --devices auto
    """

    model_config = SettingsConfigDict(extra="ignore")

    def cli_cmd(self) -> None:
        """Run the flow, against a Prefect API that is there or one that ends with this process."""
        from paramshare.console import sweep_progress
        from paramshare.sweep.run import check_sweep

        with sweep_progress(flush_command(self)) as (on_open, on_row):
            check_sweep(self.study_spec(), address_of(self), devices_of(self))
            with flow_prepared(self):
                from paramshare.flows.study import run_study_flow

                address, scheduler = address_of(self), self.dask_scheduler
                outcome, found = run_study_flow(self.study_spec(), address, on_open, on_row, scheduler)
        self.end(outcome, found)


def _check_report(report: Path) -> None:
    if report.suffix not in _FORMS:
        raise UsageError(f"--report is {str(report)!r}; expected a file that ends in {' or '.join(_FORMS)}")
    check_place(report)
