"""Test what can be asked of a comparison, and that a report's command makes the same again: it says what is not as it
comes anyway, and nothing else.
"""

import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from paramshare.cli import main
from paramshare.commands.comparing import Compare, Study
from paramshare.commands.recipes.options import command_for
from paramshare.comparing.run import run_study
from paramshare.comparing.spec import CompareSpec, StudySpec
from paramshare.recipes.target import TARGETS
from paramshare.tracking.read.seeds import read_ended
from paramshare.tracking.store import StoreAddress, open_store


@pytest.mark.parametrize(
    ("spec", "command"),
    [
        (StudySpec(), "paramshare study"),
        (StudySpec(seeds="0:3", force=True, steps=7), "paramshare study --seeds 0:3 --steps 7 --force"),
        (CompareSpec(), "paramshare compare paramshare"),
        (
            CompareSpec(experiment="two words", by="device", where="variant=shared", partial=True),
            "paramshare compare 'two words' --partial --by device --where variant=shared",
        ),
    ],
)
def test_the_command_of_a_report_has_only_the_options_that_differ_from_their_defaults(
    spec: StudySpec | CompareSpec, command: str
) -> None:
    assert sorted(shlex.split(spec.command)) == sorted(shlex.split(command))


@pytest.mark.parametrize(
    ("asked", "metric", "expected"),
    [
        ({}, "final/accuracy", "final/loss_mean_depth, .*, train/loss, model/parameters, time/seconds"),
        ({}, "model/macs", "final/loss_mean_depth, "),
        ({"target": "digits", "placement": "plain"}, "final/accuracy_unseen", "final/accuracy, .*, model/macs"),
        ({"target": "digits"}, "final/los", "final/accuracy_unseen, "),
    ],
)
def test_a_metric_that_no_run_will_have_is_refused_before_training(
    asked: dict[str, Any], metric: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=f"no metric '{metric}' to compare; expected one of {expected}"):
        StudySpec(**asked, metric=metric)
    target = [word for name, value in asked.items() for word in (f"--{name}", value)]
    assert main(["study", *target, "--metric", metric, "--seeds", "0:2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asked", [{}, {"target": "digits"}, {"target": "digits", "placement": "plain"}])
def test_every_metric_that_a_study_accepts_is_written_by_training(asked: dict[str, Any], address: StoreAddress) -> None:
    """The list that refuses, and what training writes, held against each other."""
    spec = StudySpec(**asked, steps=2, seeds="0", workers=1)
    outcome, _ = run_study(spec, address, {})
    found = read_ended(open_store(address))
    assert outcome.failed == 0
    for run in found:
        assert {one.name for one in spec.trained.metrics_of(spec.run_options)} <= run.metrics.keys()


@pytest.mark.parametrize(
    ("command", "spec"), [(command_for(Study, *TARGETS.values()), StudySpec), (Compare, CompareSpec)]
)
def test_the_command_line_has_every_field_of_the_spec(command: type[BaseModel], spec: type[BaseModel]) -> None:
    assert set(spec.model_fields) - {"options"} <= set(command.model_fields)
