"""What to compare. Pydantic models for the command line, the settings files, Python and Prefect's form."""

import re
import shlex
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from paramshare.errors import SpecError
from paramshare.sweep.spec import ExperimentName, SweepSpec, without_null

__all__ = ["CompareSpec", "GroupSpec", "StudySpec"]

_NAME: Final = re.compile(r"[a-z_]+")
_CONDITION: Final = re.compile(r"([a-z_]+)=(.+)")


def _as_text(value: Any) -> Any:
    """A settings file may give a list where the command line gives `variant,device`."""
    return ",".join(str(part) for part in value) if isinstance(value, list | tuple) else value


def _check_by(text: str) -> str:
    for name in text.split(","):
        if not _NAME.fullmatch(name.strip()):
            raise SpecError(
                f"by is {text!r}; expected a parameter's name such as variant, or a list such as variant,device"
            )
    return text


def _check_where(text: str) -> str:
    for condition in filter(None, text.split(",")):
        if not _CONDITION.fullmatch(condition.strip()):
            raise SpecError(f"where is {text!r}; expected such as device=cpu, or a list such as device=cpu,steps=500")
    return text


def _command_of(name: str, spec: BaseModel, positional: str = "") -> str:
    """The command called `name` that says of `spec` what is not as it comes anyway.

    Args:
        positional: the field that is no option but stands alone, if one is.
    """
    words = ["paramshare", name, *([str(getattr(spec, positional))] if positional else [])]
    values = {option: getattr(spec, option) for option in type(spec).model_fields if option != positional}
    defaults = {option: field.get_default() for option, field in type(spec).model_fields.items()}
    values |= values.pop("options", {})  # of a recipe
    for option, value in values.items():
        if option not in defaults or value != defaults[option]:
            switch = f"--{option.replace('_', '-')}"
            no_switch = f"--no-{option.replace('_', '-')}"
            words += [switch] if value is True else [no_switch] if value is False else [switch, str(value)]
    return shlex.join(words)


class GroupSpec(BaseModel):
    """How runs are compared."""

    metric: str | None = Field(
        None, description="the metric compared, such as final/loss_depth_2; what its target is about unless given"
    )
    level: float = Field(0.95, gt=0.5, lt=1, description="of the intervals; p is compared with 1 minus this level")
    interest: float = Field(
        0.8,
        gt=0,
        allow_inf_nan=False,
        description="the standardized difference (Cohen's d) that n is to be able to show; else it is underpowered",
    )
    partial: bool = Field(False, description="compare though runs are missing; they are named")


class CompareSpec(GroupSpec):
    """The runs of an experiment in groups, side by side."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=without_null)

    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that holds the runs")
    by: Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_by)] = Field(
        "variant", description="what the groups differ in: variant, device, engine, any parameter, or a list of them"
    )
    where: Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_where)] = Field(
        "", description="which runs: parameter=value, or a list such as device=cpu,steps=500; all unless given"
    )

    @property
    def command(self) -> str:
        """The command that compares so."""
        return _command_of("compare", self, "experiment")

    @property
    def by_list(self) -> tuple[str, ...]:
        """The names that the groups differ in."""
        return tuple(dict.fromkeys(name.strip() for name in self.by.split(",")))

    @property
    def conditions(self) -> dict[str, str]:
        """What a run must say, by name."""
        parts = (condition.strip().partition("=") for condition in self.where.split(",") if condition.strip())
        return {name: value for name, _, value in parts}


class StudySpec(SweepSpec, GroupSpec):
    """A sweep over every variant of its target, and its groups side by side."""

    variant: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        None,
        description="the variants compared, such as shared,untied; defaults to all of the target",
        json_schema_extra=SweepSpec.model_fields["variant"].json_schema_extra,
    )

    @model_validator(mode="after")
    def _knows_the_metric(self) -> Self:
        known = [metric.name for metric in self.trained.metrics_of(self.run_options)]
        if self.metric is not None and self.metric not in known:
            raise SpecError(
                f"the runs would have no metric {self.metric!r} to be compared by; expected one of {', '.join(known)}"
            )
        return self

    @property
    def variant_list(self) -> tuple[str, ...]:
        """The variants, in the order of asking; all of them unless some are named."""
        return self.trained.variants if self.variant is None else super().variant_list

    @property
    def command(self) -> str:
        """The command that makes the study again."""
        return _command_of("study", self, "" if self.target == "dynamicnet" else "target")
