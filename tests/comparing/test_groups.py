"""Only what can be compared is: groups differ in what was asked for and in nothing else, and are whole."""

import pytest

from paramshare.comparing.groups import group
from paramshare.comparing.spec import CompareSpec
from paramshare.errors import UsageError
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.tags import ENGINE

FACTS = {"target": "dynamicnet", "variant": "shared", "device": "cpu", "steps": "500", "arithmetic": "direct"}
FINALS = {
    "final/loss_mean_depth": 1.0,
    **{f"final/loss_depth_{depth}": 1.0 for depth in range(4)},
    "time/steps_per_second": 100.0,
    "depth": 2.0,
}


def run(seed: int, finished: bool = True, engine: str = "exact", **facts: str) -> RunView:
    params = {**FACTS, "seed": str(seed), **facts}
    status, metrics = ("FINISHED", FINALS) if finished else ("FAILED", {})
    return RunView(f"{seed}-{sorted(facts.items())}", status, {ENGINE: engine}, params, metrics)


GRID = [run(seed, variant=variant) for variant in ("untied", "shared") for seed in (0, 1, 10)]


def test_groups_have_the_order_of_their_target_and_runs_the_order_of_their_seeds() -> None:
    found = group(GRID, CompareSpec())
    assert [one.name for one in found.groups] == ["shared", "untied"]
    assert [run.seed for run in found.groups[0].runs] == [0, 1, 10]
    assert found.metric.name == "final/loss_mean_depth"
    assert found.common == {
        "target": "dynamicnet",
        "device": "cpu",
        "steps": "500",
        "arithmetic": "direct",
        "engine": "exact",
    }
    assert found.pairs


def test_numeric_groups_are_sorted_by_value_and_not_as_text() -> None:
    runs = [run(seed, steps=steps) for steps in ("1000", "50", "500") for seed in (0, 1)]
    assert [one.name for one in group(runs, CompareSpec(by="steps")).groups] == ["50", "500", "1000"]


def test_runs_that_differ_in_another_parameter_are_refused_with_advice() -> None:
    mixed = [*GRID, *(run(seed, device="cuda:0") for seed in (0, 1, 10))]
    with pytest.raises(UsageError, match=r"differ in more than variant: device \(cpu, cuda:0\); .*--where device=cpu"):
        group(mixed, CompareSpec())
    assert len(group(mixed, CompareSpec(by="variant,device")).groups) == 3
    assert group(mixed, CompareSpec(where="device=cpu")).common["device"] == "cpu"


def test_groups_that_also_differ_in_a_second_parameter_are_refused() -> None:
    """Else a difference of variants would be one of steps."""
    confounded = [
        run(seed, variant=variant, steps=steps)
        for variant, steps in (("shared", "5"), ("untied", "6"))
        for seed in (0, 1)
    ]
    with pytest.raises(UsageError, match=r"differ in more than variant: steps \(5, 6\)"):
        group(confounded, CompareSpec())


def test_engines_with_the_same_numbers_can_be_mixed_and_compared() -> None:
    mixed = [run(0, engine="exact"), run(1, engine="reference"), *(run(seed, variant="untied") for seed in (0, 1))]
    assert len(group(mixed, CompareSpec()).groups) == 2
    by_engine = [
        run(seed, engine=engine, arithmetic=arithmetic)
        for engine, arithmetic in (("exact", "direct"), ("gram", "gram"))
        for seed in (0, 1)
    ]
    assert [one.name for one in group(by_engine, CompareSpec(by="engine")).groups] == ["exact", "gram"]


@pytest.mark.parametrize("gap", [[], [run(1, finished=False, variant="untied")]])
def test_an_incomplete_grid_is_refused_with_the_missing_runs_unless_partial(gap: list[RunView]) -> None:
    runs = [one for one in GRID if not (one.facts["variant"] == "untied" and one.seed in (1, 10))] + gap
    with pytest.raises(UsageError, match=r"runs are missing: untied lacks seeds 1, 10; .*--partial"):
        group(runs, CompareSpec())
    found = group(runs, CompareSpec(partial=True))
    assert found.missing == {"untied": (1, 10)}
    assert [(one.planned, len(one.runs)) for one in found.groups] == [(3, 3), (3, 1)]


def test_planned_seeds_that_no_group_has_are_missing() -> None:
    assert group(GRID, CompareSpec(partial=True), [0, 1, 2, 10]).missing == {"shared": (2,), "untied": (2,)}


def test_groups_with_different_initial_weights_are_not_paired() -> None:
    runs = [run(seed, hidden_size=size) for size in ("50", "100") for seed in (0, 1)]
    assert not group(runs, CompareSpec(by="hidden_size")).pairs


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"by": "varient"}, "the runs have no parameter 'varient'; expected one of arithmetic, device, engine"),
        ({"where": "size=3"}, "the runs have no parameter 'size'"),
        ({"where": "device=cuda:0"}, "has no ended run of a seed with device=cuda:0"),
        (
            {"metric": "final/los"},
            "the runs have no metric 'final/los'; expected one of final/loss_mean_depth, final/loss_depth_0",
        ),
        (
            {"metric": "depth"},
            "the better direction of 'depth' is unknown; expected one of final/loss_mean_depth, .*, time/steps",
        ),
    ],
)
def test_unknown_names_in_a_comparison_are_refused_in_one_line(given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        group(GRID, CompareSpec.model_validate(given))


def test_an_experiment_without_runs_is_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match="has no ended run of a seed; train seeds, or name another"):
        group([], CompareSpec())
    with pytest.raises(UsageError, match="the experiment 'paramshare' has no finished run"):
        group([run(0, finished=False)], CompareSpec(partial=True))


@pytest.mark.parametrize("given", [{"by": ""}, {"by": "variant,"}, {"where": "device"}, {"where": "=x"}])
def test_malformed_lists_in_a_comparison_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        CompareSpec.model_validate(given)


def test_training_speed_is_compared_with_higher_as_better() -> None:
    assert group(GRID, CompareSpec(metric="time/steps_per_second")).metric.better == "higher"


@pytest.mark.parametrize("by", ["variant", "target,variant", "variant,hidden_size"])
def test_runs_of_several_targets_are_refused_for_any_grouping(by: str) -> None:
    digits = run(0, target="digits", variant="conv")
    with pytest.raises(UsageError, match="the runs are of digits and dynamicnet; choose one by --where target=digits"):
        group([*(run(seed, hidden_size="100") for seed in (0, 1)), digits], CompareSpec(by=by))
