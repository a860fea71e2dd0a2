"""Proves that a report's command makes the same again: it says what is not as it comes anyway, and nothing else."""

import shlex

import pytest
from pydantic import BaseModel

from paramshare.commands.comparing import Compare, Study
from paramshare.comparing.spec import CompareSpec, StudySpec


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
def test_a_command_says_what_is_not_as_it_comes(spec: StudySpec | CompareSpec, command: str) -> None:
    assert sorted(shlex.split(spec.command)) == sorted(shlex.split(command))


@pytest.mark.parametrize(("command", "spec"), [(Study, StudySpec), (Compare, CompareSpec)])
def test_the_command_line_has_every_field_of_the_spec(command: type[BaseModel], spec: type[BaseModel]) -> None:
    assert set(spec.model_fields) <= set(command.model_fields)
