"""The text of a study agrees with its numbers: n, size, confidence and direction."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramshare.comparing.groups import group
from paramshare.comparing.numbers import number, p_value, with_interval
from paramshare.comparing.spec import CompareSpec
from paramshare.comparing.study import Study, make_study
from paramshare.comparing.text import answers, contrast_table, footnotes, group_table
from paramshare.stats.estimate import Note
from paramshare.stats.paired import compare_paired
from paramshare.stats.summary import summarise
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.tags import ENGINE

LOSS = "final/loss_mean_depth"
FACTS = {"target": "dynamicnet", "device": "cpu"}
DIGITS = {"target": "digits", "device": "cpu", "placement": "moved"}


def runs(values: dict[str, list[float]], metric: str = LOSS, facts: dict[str, str] = FACTS) -> list[RunView]:
    """Return a run for each value of each variant, with seeds from 0 on; each variant has 1000 parameters more."""
    final_metrics = ["final/loss_mean_depth", *(f"final/loss_depth_{depth}" for depth in range(4))]
    return [
        RunView(
            f"{variant}{seed}",
            "FINISHED",
            {ENGINE: "exact"},
            {**facts, "variant": variant, "seed": str(seed)},
            {
                **(dict.fromkeys(final_metrics, value) if metric == LOSS else {}),
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


def test_an_answer_gives_the_size_the_interval_n_and_the_direction_of_a_difference() -> None:
    found = study({"shared": SHARED, "untied": HALVED})
    (contrast,) = found.contrasts
    assert (contrast.one, contrast.other) == ("untied", "shared")
    sums = np.add.outer(HALVED, HALVED) / np.add.outer(SHARED, SHARED)
    ratio = float(np.median(sums[np.triu_indices(30)]))
    assert contrast.comparison.hl_ratio.value == pytest.approx(ratio)
    (answer,) = answers(found)
    assert answer.startswith(
        "Untying adds 1,000 parameters (2,000 instead of 1,000) and cuts the trained net's mean loss over "
        f"all depths to {100 * ratio:.0f} % ["
    )
    assert "(n = 30 pairs, 95 % confidence intervals; win rate 100 % [88 %, 100 %]; p = " in answer


def test_a_comparison_of_few_runs_is_called_underpowered_and_not_equal() -> None:
    found = study({"shared": SHARED[:5], "untied": NOISY[:5]})
    (answer,) = answers(found)
    assert "shows no significant difference in" in answer
    needed = found.contrasts[0].comparison.power.needed
    verdict = f"underpowered: d = 0.8 needs {needed} pairs"
    assert answer.endswith(f"). The comparison is {verdict}.")
    assert contrast_table(found).rows[-1][1] == verdict


def test_a_comparison_of_many_equal_runs_finds_no_difference_and_gives_its_power() -> None:
    found = study({"shared": SHARED, "untied": NOISY})
    comparison = found.contrasts[0].comparison
    assert not comparison.significant
    power = f"power {100 * comparison.power.chance:.0f} % at d = 0.8"
    assert contrast_table(found).rows[-1][1] == f"no difference found ({power})"
    (answer,) = answers(found)
    amount = f"{100 * (comparison.hl_ratio.value or 0):.0f} % ["
    assert f"and shows no difference in {found.metric.description}: {amount}" in answer
    assert answer.endswith(f"; {power}.")


def test_an_answer_begins_with_a_capital_unless_that_changes_a_name() -> None:
    devices = [*runs({"shared": SHARED[:3]}), *runs({"shared": SHARED[:3]}, facts={**FACTS, "device": "cuda:0"})]
    spec = CompareSpec.model_validate({"by": "device"})
    assert answers(make_study("e", group(devices, spec), spec, {}))[0].startswith("cuda:0 instead of cpu keeps the ")


def test_diverged_runs_are_counted_and_ranked_worst() -> None:
    found = study({"shared": [math.inf, math.nan, *SHARED[2:]], "untied": HALVED})
    by_row = {name: cells for name, *cells in group_table(found).rows}
    assert by_row["runs finished"] == ["30", "30"]
    assert by_row["runs diverged"] == ["2", "0"]
    assert by_row["maximum"][0] == "∞"
    assert found.contrasts[0].comparison.beats.value == pytest.approx(1)
    assert any("diverged" in note for note in footnotes(found))


def test_the_estimated_ratio_counts_diverged_runs_as_its_test_does() -> None:
    diverged = [math.inf] * 3
    found = study({"shared": diverged + SHARED[3:], "untied": HALVED})
    (answer,) = answers(found)
    ratio = found.contrasts[0].comparison.hl_ratio.value or 0
    assert f" and cuts {found.metric.description} to {100 * ratio:.0f} % [" in answer
    assert "] (n = 30 pairs" in answer
    assert answer.endswith("; diverged runs, which count as the worst: 3 of shared, 0 of untied).")


@pytest.mark.parametrize(
    "untied", [[math.inf] * 30, [*[math.nan] * 18, *(0.9 * value for value in SHARED[18:])]], ids=["all", "most"]
)
def test_a_group_most_of_which_diverged_is_worse_by_an_unknown_amount(untied: list[float]) -> None:
    """In the second case the runs that did not diverge are better, which is no reason to write `cuts ... to 90 %`."""
    found = study({"shared": SHARED, "untied": untied})
    assert found.contrasts[0].comparison.significant
    (answer,) = answers(found)
    unknown = (
        f" and makes {found.metric.description} worse: the amount is unknown, since too many runs diverged (n = 30"
    )
    assert unknown in answer
    assert contrast_table(found).rows[-1][1] == "shared is better"


def test_a_group_compared_with_one_that_always_diverges_is_better_by_an_unknown_amount() -> None:
    (answer,) = answers(study({"shared": [math.inf] * 30, "untied": SHARED}))
    assert "makes the trained net's mean loss over all depths better: the amount is unknown" in answer


def test_three_pairs_have_a_verdict_without_an_interval_and_their_other_intervals_have_a_footnote() -> None:
    found = study({"shared": [1.0, 1.1, 1.2], "untied": [0.5, 0.54, 0.58]})
    (answer,) = answers(found)
    assert "49 % of that of shared (n = 3 pairs, too few for a 95 % confidence interval of the test;" in answer
    by_row = dict(contrast_table(found).rows)
    assert "[" not in by_row["ratio (Hodges-Lehmann)"]
    (note,) = [note for note in footnotes(found) if Note.OTHER_METHOD in note]
    assert by_row["difference of means"].endswith(f"]{note[0]}")


def test_a_difference_that_the_holm_adjustment_removes_has_a_footnote_at_its_interval() -> None:
    shared, untied = [100.0] * 8, [100.0 + above for above in (-2, 1, 3, 4, 5, 6, 7, 8)]  # p = 6 / 256
    found = study({"shared": shared, "untied": untied, "noise": [190.0, 11, 192, 13, 194, 15, 196, 17]})
    first = found.contrasts[0].comparison
    assert first.p < first.alpha < (first.p_holm or 0)
    assert (
        f"p = {p_value(first.p_holm or 0)} after Holm's correction for 3 comparisons, which decides; p = 0.023 "
        in (answers(found)[0])
    )
    assert any(Note.ONE_OF_MANY in note for note in footnotes(found))


def test_the_verdict_follows_its_test_and_not_the_number_of_wins() -> None:
    """28 pairs halved and 32 a hundredth worse."""
    losses = np.exp(np.random.default_rng(3).normal(0, 0.1, 60))
    untied = np.where(np.arange(60) < 28, losses / 2, losses * 1.01)
    found = study({"shared": list(losses), "untied": list(untied)})
    assert found.contrasts[0].comparison.significant
    assert found.contrasts[0].comparison.beats.value == pytest.approx(28 / 60)
    assert contrast_table(found).rows[-1][1] == "untied is better"
    assert " and cuts " in answers(found)[0]


def test_every_row_of_the_groups_table_shows_the_number_of_its_name() -> None:
    found = study({"shared": SHARED, "untied": [math.inf, *HALVED[1:]]})
    shown = {row[0]: row[1:] for row in group_table(found).rows}
    for place, result in enumerate(found.groups):
        summary = result.summary
        estimates = {
            "mean": summary.mean,
            "geometric mean": summary.geometric_mean,
            "median": summary.median,
            "interquartile mean": summary.iqm,
            "standard deviation": summary.sd,
            "loss depth 2, median": result.final_metrics["final/loss_depth_2"].median,
        }
        assert {name: shown[name][place].rstrip(MARKS) for name in estimates} == {
            name: with_interval(estimate) for name, estimate in estimates.items()
        }
        numbers = {"minimum": summary.minimum, "maximum": summary.maximum, "parameters": 1000.0 * (1 + place)}
        assert {name: shown[name][place] for name in numbers} == {name: number(each) for name, each in numbers.items()}


def test_every_row_of_the_comparisons_table_shows_the_number_of_its_name() -> None:
    found = study({"shared": SHARED, "untied": NOISY})
    comparison = found.contrasts[0].comparison
    shown = dict(contrast_table(found).rows)
    estimates = {
        "difference (Hodges-Lehmann)": (comparison.hl_difference, 0),
        "ratio (Hodges-Lehmann)": (comparison.hl_ratio, 1),
        "difference of means": (comparison.difference, 0),
        "ratio of geometric means": (comparison.ratio, 1),
        "win rate": (comparison.beats, 0.5),
        "effect size (Cohen's d)": (comparison.effect, 0),
    }
    assert {name: shown[name].rstrip(MARKS) for name in estimates} == {
        name: with_interval(estimate, null) for name, (estimate, null) in estimates.items()
    }
    assert shown["n"] == "30 pairs"
    assert shown["p"] == f"{p_value(comparison.p)} (signed-rank, exact)"
    assert shown["smallest detectable effect"] == f"d = {number(comparison.power.detectable)} (power 80 %)"


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


ACCURACIES = {
    "conv": [0.92, 0.93, 0.91, 0.95, 0.90, 0.94, 0.92],
    "local": [0.1, 0.2, 0.1, 0.15, 0.12, 0.11, 0.16],
    "dense": [0.15] * 7,
}


def accuracy_study() -> Study:
    spec = CompareSpec()
    return make_study("e", group(runs(ACCURACIES, "final/accuracy_unseen", DIGITS), spec), spec, {})


def test_three_groups_give_three_pairs_whose_p_is_adjusted() -> None:
    """Two pairs differ in all of 7 seeds: p = 2 / 2^7, times 3 by Holm. The third is the largest and stays as it is."""
    contrasts = accuracy_study().contrasts
    pairs = [(contrast.one, contrast.other) for contrast in contrasts]
    assert pairs == [("local", "conv"), ("dense", "conv"), ("dense", "local")]
    assert [contrast.comparison.p for contrast in contrasts[:2]] == [2 / 2**7] * 2
    third = contrasts[2].comparison.p
    assert third > 6 / 2**7
    assert [contrast.comparison.p_holm for contrast in contrasts] == [6 / 2**7, 6 / 2**7, third]


def accuracies_of(group: str) -> dict[int, float]:
    return dict(enumerate(ACCURACIES[group]))


def test_every_pair_of_groups_is_compared_with_the_options_of_the_spec() -> None:
    spec = CompareSpec.model_validate({"level": 0.8, "interest": 0.5})
    found = make_study("e", group(runs(ACCURACIES, "final/accuracy_unseen", DIGITS), spec), spec, {})
    for contrast in found.contrasts:
        expected = compare_paired(
            accuracies_of(contrast.one),
            accuracies_of(contrast.other),
            better="higher",
            level=0.8,
            interest=0.5,
            family=3,
        )
        assert replace(contrast.comparison, p_holm=None) == expected


def test_every_group_is_summarised_in_the_better_direction_at_the_level_of_the_spec() -> None:
    spec = CompareSpec.model_validate({"level": 0.8})
    diverged = {**ACCURACIES, "conv": [math.nan, *ACCURACIES["conv"][1:]]}
    found = make_study("e", group(runs(diverged, "final/accuracy_unseen", DIGITS), spec), spec, {})
    for result in found.groups:
        assert result.summary == summarise(diverged[result.name], better="higher", level=0.8)


def test_an_answer_without_a_significant_difference_tells_on_which_side_the_estimate_is() -> None:
    base = [0.5, 0.51, 0.52, 0.53, 0.54]
    for shift, side in ((0.001, "above"), (-0.001, "below")):
        values = {"conv": base, "local": [value + shift * (1 + seed) for seed, value in enumerate(base)]}
        spec = CompareSpec()
        (answer,) = answers(make_study("e", group(runs(values, "final/accuracy_unseen", DIGITS), spec), spec, {}))
        assert f"0.003 {side} that of conv" in answer


def test_an_answer_about_accuracy_gives_the_difference_without_its_sign() -> None:
    first, second = answers(accuracy_study())
    assert re.search(
        r" and lowers accuracy on digits at places not seen in training by 0\.\d+ \[0\.\d+, 0\.\d+\] ", first
    )
    assert second.startswith("Dense instead of conv adds 2,000 parameters (3,000 instead of 1,000) and lowers ")


def test_the_json_of_a_study_is_valid_if_runs_diverged() -> None:
    plain = study({"shared": [math.inf, 1.0, 2.0], "untied": [0.5, 0.6, 0.7]}).as_dict()
    read = json.loads(json.dumps(plain, allow_nan=False))
    assert read["groups"][0]["values"] == {"0": None, "1": 1.0, "2": 2.0}
    assert read["contrasts"][0]["paired"] is True


def test_missing_runs_are_among_the_answers() -> None:
    spec = CompareSpec(partial=True)
    some = [run for run in runs({"shared": SHARED, "untied": HALVED}) if run.run_id != "untied3"]
    found = make_study("e", group(some, spec), spec, {})
    assert answers(found)[-1] == "Runs are missing: untied lacks seed 3."
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
    nulls = {"difference": 0.0, "ratio": 1.0, "win": 0.5, "effect": 0.0}
    for name, *cells in contrast_table(found).rows:
        for contrast, cell in zip(found.contrasts, cells, strict=True):
            limits = LIMITS.search(cell)
            if limits and name.split()[0] in nulls and not any(mark in cell for mark in explained):
                assert excludes(limits, nulls[name.split()[0]]) == contrast.comparison.significant, (name, cell)
    for contrast, answer in zip(found.contrasts, answers(found), strict=False):
        amount = answer.split(" and ", 1)[1].split("(n = ")[0]
        limits = LIMITS.search(amount)
        if limits and "which decides" not in answer:
            assert excludes(limits, 100.0 if "%" in amount else 0.0) == contrast.comparison.significant, answer


MARKS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
LIMITS = re.compile(r"([\[(])(-?[\d.,e+-]+|-?∞)(?: %)?, (-?[\d.,e+-]+|-?∞)(?: %)?([\])])")


def excludes(limits: re.Match[str], null: float) -> bool:
    """Return whether an interval, as it is shown, excludes `null`."""
    low, high = (float(limit.replace(",", "").replace("∞", "inf")) for limit in limits.group(2, 3))
    below = null <= low if limits[1] == "(" else null < low
    return below or (null >= high if limits[4] == ")" else null > high)
