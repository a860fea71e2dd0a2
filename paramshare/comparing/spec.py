"""The specs of comparisons. Pydantic models for the command line, the settings files, Python and Prefect's form."""

import re
import shlex
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from paramshare.errors import SpecError
from paramshare.sweep.form import without_null
from paramshare.sweep.spec import ExperimentName, SweepSpec

__all__ = ["CompareSpec", "GroupSpec", "StudySpec"]

_NAME: Final = re.compile(r"[a-z_]+")
_CONDITION: Final = re.compile(r"([a-z_]+)=(.+)")


def _as_text(value: Any) -> Any:
    """Join a list, as a settings file can give it, to the text that the command line gives: `variant,device`."""
    return ",".join(str(part) for part in value) if isinstance(value, list | tuple) else value


def _check_by(text: str) -> str:
    for name in text.split(","):
        if not _NAME.fullmatch(name.strip()):
            raise SpecError(
                f"by is {text!r}; expected the name of a parameter such as variant, or a list such as variant,device"
            )
    return text


def _check_where(text: str) -> str:
    for condition in filter(None, text.split(",")):
        if not _CONDITION.fullmatch(condition.strip()):
            raise SpecError(
                f"where is {text!r}; expected a condition such as device=cpu, or a list such as device=cpu,steps=500"
            )
    return text


def _command_of(name: str, spec: BaseModel, positional: str = "") -> str:
    """Return a command line with every option of `spec` that differs from its default.

    Args:
        name: the name of the command.
        spec: the options.
        positional: the field that is a positional argument. Defaults to none.
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
    """The options of a comparison."""

    metric: str | None = Field(
        None, description="the metric to compare, such as final/loss_depth_2; defaults to the headline of the target"
    )
    level: float = Field(
        0.95, gt=0.5, lt=1, description="the confidence level of the intervals; alpha is 1 minus this level"
    )
    interest: float = Field(
        0.8,
        gt=0,
        allow_inf_nan=False,
        description="the smallest difference (Cohen's d) of interest; a comparison that detects it with a power "
        "below 0.8 is underpowered",
    )
    partial: bool = Field(
        False, description="compare the finished runs even if runs are missing; missing runs are named"
    )


class CompareSpec(GroupSpec):
    """A comparison of groups of an experiment's runs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=without_null)

    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that holds the runs")
    by: Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_by)] = Field(
        "variant",
        description="the parameters that tell groups apart: variant, device, engine, any parameter, or a list of them",
    )
    where: Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_where)] = Field(
        "",
        description="the runs to compare: parameter=value, or a list such as device=cpu,steps=500; defaults to all",
    )

    @property
    def command(self) -> str:
        """The command that makes this comparison."""
        return _command_of("compare", self, "experiment")

    @property
    def by_list(self) -> tuple[str, ...]:
        """The names of the parameters that tell groups apart."""
        return tuple(dict.fromkeys(name.strip() for name in self.by.split(",")))

    @property
    def conditions(self) -> dict[str, str]:
        """The values that a run must have, by parameter."""
        parts = (condition.strip().partition("=") for condition in self.where.split(",") if condition.strip())
        return {name: value for name, _, value in parts}


class StudySpec(SweepSpec, GroupSpec):
    """A sweep over every variant of its target, and the comparison of its groups."""

    variant: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        None,
        description="the variants to compare, such as shared,untied; defaults to all variants of the target",
        json_schema_extra=SweepSpec.model_fields["variant"].json_schema_extra,
    )

    @model_validator(mode="after")
    def _knows_the_metric(self) -> Self:
        known = [metric.name for metric in self.trained.metrics_of(self.run_options)]
        if self.metric is not None and self.metric not in known:
            raise SpecError(
                f"the runs will have no metric {self.metric!r} to compare; expected one of {', '.join(known)}"
            )
        return self

    @property
    def variant_list(self) -> tuple[str, ...]:
        """The variants in the order of the option; all variants of the target if the option is not given."""
        return self.trained.variants if self.variant is None else super().variant_list

    @property
    def command(self) -> str:
        """The command that repeats the study."""
        return _command_of("study", self, "" if self.target == "dynamicnet" else "target")
