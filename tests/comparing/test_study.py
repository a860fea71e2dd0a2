"""Proves that a study says what its numbers say: how many, how far, how sure, and in which direction."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramshare.comparing.groups import group
from paramshare.comparing.numbers import number
from paramshare.comparing.spec import CompareSpec
from paramshare.comparing.study import Study, make_study
from paramshare.comparing.text import answers, contrast_table, footnotes, group_table
from paramshare.stats.estimate import Note
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.tags import ENGINE

LOSS = "final/loss_mean_depth"
FACTS = {"target": "dynamicnet", "device": "cpu"}
DIGITS = {"target": "digits", "device": "cpu", "placement": "moved"}


def runs(values: dict[str, list[float]], metric: str = LOSS, facts: dict[str, str] = FACTS) -> list[RunView]:
    """A run for each value, its seed the place; `variant` by its name; more parameters from variant to variant."""
    finals = ["final/loss_mean_depth", *(f"final/loss_depth_{depth}" for depth in range(4))]
    return [
        RunView(
            f"{variant}{seed}",
            "FINISHED",
            {ENGINE: "exact"},
            {**facts, "variant": variant, "seed": str(seed)},
            {
                **(dict.fromkeys(finals, value) if metric == LOSS else {}),
                metric: value,
                "model/parameters": 1000.0 * place,
            },
        )
        for place, (variant, of_variant) in enumerate(values.items(), 1)
        for seed, value in enumerate(of_variant)
    ]


def study(values: dict[str, list[float]], **options: object) -> Study:
    spec = CompareSpec.model_validate(options)
    return make_study("e", group(runs(values), spec), spec, {})


RNG = np.random.default_rng(0)
SHARED = list(np.exp(RNG.normal(0, 1, 30)))
HALVED = [value / 2 * math.exp(noise) for value, noise in zip(SHARED, RNG.normal(0, 0.2, 30), strict=True)]
NOISY = [value * math.exp(noise) for value, noise in zip(SHARED, RNG.normal(0, 0.5, 30), strict=True)]


def test_a_significant_difference_is_reported_with_size_n_interval_and_direction() -> None:
    found = study({"shared": SHARED, "untied": HALVED})
    (contrast,) = found.contrasts
    assert (contrast.one, contrast.other) == ("untied", "shared")
    sums = np.add.outer(HALVED, HALVED) / np.add.outer(SHARED, SHARED)
    assert contrast.found.hl_ratio.value == pytest.approx(np.median(sums[np.triu_indices(30)]))
    (answer,) = answers(found)
    assert answer.startswith(
        "Untied instead of shared takes 1,000 more parameters (2,000, 2 times as many) and brings "
    )
    assert f"to {number(contrast.found.hl_ratio.value)} [" in answer
    assert (
        "times that of shared (n = 30 pairs, 95 % intervals; untied is better in 100 % [88 %, 100 %] of them; p = "
        in answer
    )


def test_too_few_runs_for_a_difference_are_reported_as_underpowered() -> None:
    found = study({"shared": SHARED[:5], "untied": NOISY[:5]})
    (answer,) = answers(found)
    assert "cannot be told from it by" in answer
    assert "underpowered for a difference of d = 0.8, which takes " in answer
    assert contrast_table(found).rows[-1][1].startswith("underpowered: d = 0.8 takes ")


def test_no_difference_among_enough_runs_is_reported_as_no_difference() -> None:
    found = study({"shared": SHARED, "untied": NOISY})
    assert not found.contrasts[0].found.significant
    (answer,) = answers(found)
    words = f"{found.metric.words}, {number(found.contrasts[0].found.hl_ratio.value)} ["
    assert f"and shows no difference in {words}" in answer


def test_an_answer_begins_with_a_capital_unless_that_changes_a_name() -> None:
    devices = [*runs({"shared": SHARED[:3]}), *runs({"shared": SHARED[:3]}, facts={**FACTS, "device": "cuda:0"})]
    spec = CompareSpec.model_validate({"by": "device"})
    assert answers(make_study("e", group(devices, spec), spec, {}))[0].startswith("cuda:0 instead of cpu takes as many")


def test_diverged_runs_are_counted_and_ranked_worst() -> None:
    found = study({"shared": [math.inf, math.nan, *SHARED[2:]], "untied": HALVED})
    by_row = {name: cells for name, *cells in group_table(found).rows}
    assert by_row["runs finished"] == ["30", "30"]
    assert by_row["of them diverged"] == ["2", "0"]
    assert by_row["most"][0] == "∞"
    assert found.contrasts[0].found.beats.value == pytest.approx(1)
    assert any("diverged" in note for note in footnotes(found))


def test_the_estimated_ratio_counts_diverged_runs_as_its_test_does() -> None:
    diverged = [math.inf] * 3
    found = study({"shared": diverged + SHARED[3:], "untied": HALVED})
    (answer,) = answers(found)
    assert f" and brings {found.metric.words} to {number(found.contrasts[0].found.hl_ratio.value)} [" in answer
    assert "times that of shared (n = 30 pairs" in answer
    assert answer.endswith("; diverged, which is the worst: 3 of shared, 0 of untied).")


@pytest.mark.parametrize(
    "untied", [[math.inf] * 30, [*[math.nan] * 18, *(0.9 * value for value in SHARED[18:])]], ids=["all", "most"]
)
def test_a_mostly_diverged_group_is_worse_by_an_unknown_amount(untied: list[float]) -> None:
    """Of the second, those that did not diverge are better: that is no reason to say `brings ... to 0.9`."""
    found = study({"shared": SHARED, "untied": untied})
    assert found.contrasts[0].found.significant
    (answer,) = answers(found)
    words = found.metric.words
    assert f" and is worse by {words}, how far from shared is not known, since too many runs diverged (n = 30" in answer
    assert contrast_table(found).rows[-1][1] == "shared is better"


def test_a_group_is_better_by_an_unknown_amount_than_an_entirely_diverged_group() -> None:
    (answer,) = answers(study({"shared": [math.inf] * 30, "untied": SHARED}))
    assert "is better by the trained net's loss" in answer
    assert "how far from shared is not known" in answer


def test_three_pairs_have_a_verdict_without_an_interval_and_their_other_intervals_have_a_footnote() -> None:
    found = study({"shared": [1.0, 1.1, 1.2], "untied": [0.5, 0.54, 0.58]})
    assert "0.4909 times that of shared (n = 3 pairs, too few for an interval of the test at 95 %" in answers(found)[0]
    by_row = dict(contrast_table(found).rows)
    assert "[" not in by_row["ratio (Hodges-Lehmann)"]
    (note,) = [note for note in footnotes(found) if Note.OTHER_METHOD in note]
    assert by_row["difference of the means"].endswith(f"]{note[0]}")


def test_a_difference_that_the_holm_adjustment_removes_has_a_footnote_at_its_interval() -> None:
    shared, untied = [100.0] * 8, [100.0 + above for above in (-2, 1, 3, 4, 5, 6, 7, 8)]  # p = 6 / 256
    found = study({"shared": shared, "untied": untied, "noise": [190.0, 11, 192, 13, 194, 15, 196, 17]})
    first = found.contrasts[0].found
    assert first.p < first.alpha < (first.p_holm or 0)
    assert "among all 3 comparisons (Holm), which decides, and " in answers(found)[0]
    assert any(Note.ONE_OF_MANY in note for note in footnotes(found))


def test_the_verdict_follows_its_test_and_not_the_number_of_wins() -> None:
    """28 pairs halved and 32 a hundredth worse."""
    losses = np.exp(np.random.default_rng(3).normal(0, 0.1, 60))
    untied = np.where(np.arange(60) < 28, losses / 2, losses * 1.01)
    found = study({"shared": list(losses), "untied": list(untied)})
    assert found.contrasts[0].found.significant
    assert found.contrasts[0].found.beats.value == pytest.approx(28 / 60)
    assert contrast_table(found).rows[-1][1] == "untied is better"
    assert " and brings " in answers(found)[0]


def test_every_mark_in_the_tables_has_a_footnote() -> None:
    found = study({"shared": [1.0, 1.0, 1.0], "untied": [2.0, 2.0, 3.0]})
    tables = (group_table(found), contrast_table(found))
    marks = {
        letter for table in tables for row in table.rows for cell in row[1:] for letter in cell if letter in "¹²³⁴⁵⁶⁷⁸⁹"
    }
    assert marks == {note.split()[0] for note in footnotes(found)}
    assert marks


def test_a_table_of_single_runs_shows_no_interval() -> None:
    found = study({"shared": [1.0], "untied": [2.0]})
    by_row = {name: cells for name, *cells in group_table(found).rows}
    assert all("[" not in cell for cells in by_row.values() for cell in cells)


def test_three_groups_give_three_comparisons_with_adjusted_p_values() -> None:
    values = {
        "conv": [0.92, 0.93, 0.91, 0.95, 0.90, 0.94, 0.92],
        "local": [0.1, 0.2, 0.1, 0.15, 0.12, 0.11, 0.16],
        "dense": [0.15] * 7,
    }
    spec = CompareSpec()
    found = make_study("e", group(runs(values, "final/accuracy_unseen", DIGITS), spec), spec, {})
    assert [(one.one, one.other) for one in found.contrasts] == [
        ("local", "conv"),
        ("dense", "conv"),
        ("dense", "local"),
    ]
    assert all((one.found.p_holm or 0) >= one.found.p for one in found.contrasts)
    first, second = answers(found)
    assert " below that of conv " in first
    assert "-" not in first.split(" and brings ")[1].split("below")[0]
    assert second.startswith("Dense instead of conv takes 2,000 more parameters (3,000, 3 times as many)")


def test_the_json_of_a_study_is_valid_if_runs_diverged() -> None:
    plain = study({"shared": [math.inf, 1.0, 2.0], "untied": [0.5, 0.6, 0.7]}).as_dict()
    read = json.loads(json.dumps(plain, allow_nan=False))
    assert read["groups"][0]["values"] == {"0": None, "1": 1.0, "2": 2.0}
    assert read["contrasts"][0]["paired"] is True


def test_missing_runs_are_among_the_answers() -> None:
    spec = CompareSpec(partial=True)
    some = [run for run in runs({"shared": SHARED, "untied": HALVED}) if run.run_id != "untied3"]
    found = make_study("e", group(some, spec), spec, {})
    assert answers(found)[-1] == "Runs are missing: untied has not finished seed 3."
    assert found.contrasts[0].n == "29 pairs"


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    st.integers(2, 3),
    st.integers(1, 9),
    st.sampled_from([st.floats(0.01, 100), st.integers(1, 4).map(float), st.sampled_from([0.5, 1.0, 1.1, math.inf])]),
    st.sampled_from([LOSS, "final/accuracy_unseen"]),
    st.booleans(),
)
def test_a_verdict_is_a_difference_exactly_if_its_shown_interval_excludes_no_difference_or_has_a_footnote(
    data: st.DataObject, count: int, n: int, values: st.SearchStrategy[float], metric: str, paired: bool
) -> None:
    drawn = {name: data.draw(st.lists(values, min_size=n, max_size=n)) for name in ["conv", "local", "dense"][:count]}
    members = runs(drawn, metric, FACTS if metric == LOSS else DIGITS)
    spec = CompareSpec()
    grouped = replace(group(members, spec), pairs=paired)
    found = make_study("e", grouped, spec, {})
    explained = [note[0] for note in footnotes(found) if Note.OTHER_METHOD in note or Note.ONE_OF_MANY in note]
    nulls = {"difference": 0.0, "ratio": 1.0, "chance": 0.5, "effect": 0.0}
    for name, *cells in contrast_table(found).rows:
        for contrast, cell in zip(found.contrasts, cells, strict=True):
            limits = LIMITS.search(cell)
            if limits and name.split()[0] in nulls and not any(mark in cell for mark in explained):
                assert excludes(limits, nulls[name.split()[0]]) == contrast.found.significant, (name, cell)
    for contrast, answer in zip(found.contrasts, answers(found), strict=False):
        limits = LIMITS.search(answer.split(" and ", 1)[1].split("(n = ")[0])
        if limits and "which decides" not in answer:
            null = 1.0 if "times that of" in answer.split("(n = ")[0] else 0.0
            assert excludes(limits, null) == contrast.found.significant, answer


LIMITS = re.compile(r"([\[(])(-?[\d.,e+-]+|-?∞), (-?[\d.,e+-]+|-?∞)([\])])")


def excludes(limits: re.Match[str], null: float) -> bool:
    """Whether an interval as it is shown leaves `null` out."""
    low, high = (float(limit.replace(",", "").replace("∞", "inf")) for limit in limits.group(2, 3))
    below = null <= low if limits[1] == "(" else null < low
    return below or (null >= high if limits[4] == ")" else null > high)
