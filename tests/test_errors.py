"""Proves that a message suggests a known name only if a person may have meant it."""

import pytest

from paramshare.errors import nearest

OPTIONS = ("--help", "--seeds", "--steps", "--batch-size", "--hidden-size", "--devices", "--workers", "--sort")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--sede", "--seeds"),
        ("--STEPS", "--steps"),
        ("--hidden", "--hidden-size"),
        ("--device", "--devices"),
        ("--num-workers", "--workers"),
    ],
)
def test_the_nearest_name_is_suggested(given: str, meant: str) -> None:
    assert nearest(given, OPTIONS) == meant


@pytest.mark.parametrize("given", ["--channels", "--placement", "--store", "--path", "--size", "--format", "--s"])
def test_no_name_is_suggested_if_none_is_near(given: str) -> None:
    assert nearest(given, OPTIONS) is None
