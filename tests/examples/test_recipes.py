"""The examples run as they are."""

import json
from pathlib import Path

import pytest

from paramshare.cli import main
from support import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_checked_without_a_problem(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_variant_of_an_example_is_trained(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(file), "--seeds", "0:2", "--steps", "6", "--workers", "1", "--json"]) == 0
    study = json.loads(capsys.readouterr().out)
    assert [group["finished"] for group in study["groups"]] == [2, 2]
