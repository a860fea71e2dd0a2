"""Test what a check finds: each kind of fault in one line with file and line, and nothing in a good recipe."""

import json
from typing import Any

import pytest

from paramshare.recipes.checking.check import CheckReport, check_recipe
from paramshare.recipes.target import Target
from paramshare.sharing.analyze import analyze
from support.toy_recipe import Changed


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> CheckReport:
    """Return the check of the recipe without faults."""
    from support.toy_recipe import NEIGHBOUR, RECIPE, load

    folder = tmp_path_factory.mktemp("toy")
    (folder / "noise.py").write_text(NEIGHBOUR)
    (folder / "toy.py").write_text(RECIPE)
    return check_recipe(load(folder / "toy.py"), {"width": 4}, seed=3)


def test_a_recipe_without_faults_has_no_problems(checked: CheckReport) -> None:
    assert (checked.problems, checked.notes, checked.failed) == ((), (), False)
    assert [variant.name for variant in checked.variants] == ["conv", "local", "wide", "twice"]
    assert (checked.recipe, checked.seed, checked.options["width"]) == ("toy", 3, 4)


def test_every_variant_is_counted_as_analyze_counts_it(checked: CheckReport, toy: Target) -> None:
    from paramshare.training.loop.random_state import restored_random_state
    from paramshare.training.start import begin

    for variant in checked.variants:
        with restored_random_state():
            start = begin(toy.new(seed=0, variant=variant.name, width=4))
        totals = analyze(start.model, args=start.example).totals
        assert (variant.parameters, variant.macs) == (totals.shared, totals.macs)


def test_the_memory_is_that_of_parameters_gradients_and_the_state_of_the_optimizer(
    checked: CheckReport, changed: Changed
) -> None:
    conv, *_ = checked.variants
    assert (conv.bytes, conv.state_known) == (2 * 4 * conv.parameters, True)
    with_momentum = changed("learning_rate: float = 0.1", "momentum: float = 0.9")
    assert check_recipe(with_momentum, {"width": 4}).variants[0].bytes == 3 * 4 * conv.parameters


def test_only_variants_that_are_made_from_the_model_are_compared_with_it(checked: CheckReport) -> None:
    differences = {variant.name: variant.difference for variant in checked.variants}
    assert (differences["conv"], differences["wide"], differences["twice"]) == (None, None, 0)
    assert differences["local"] is not None
    assert differences["local"] < 1e-6


def test_the_cost_of_a_sweep_is_known_if_the_number_of_steps_is(checked: CheckReport, changed: Changed) -> None:
    assert all(variant.seconds for variant in checked.variants)
    assert checked.sweep_seconds
    fit = "def evaluate(self", "def fit(self, model, data, generator):\n        yield 1.0\n\n    def evaluate(self"
    assert check_recipe(changed(*fit)).sweep_seconds is not None
    unknown = changed("steps: int = 6", "number: int = 6")
    assert check_recipe(unknown).sweep_seconds is None


def test_the_report_is_plain_data(checked: CheckReport) -> None:
    assert json.loads(json.dumps(checked.as_dict()))["variants"][0]["name"] == "conv"


LOSS = "return (model(x) - y).square().mean()"
HALVED = """def halved(model):
    with torch.no_grad():
        [parameter.mul_(0.5) for parameter in model.out.parameters()]
    return model


"""
NOISE = ("class Toy", "NOISE = torch.Generator()\n\n\nclass Toy")
FAULTS: dict[str, tuple[tuple[str, ...], str]] = {
    "loss of each example": (
        (LOSS, "return (model(x) - y).square()"),
        "loss returns a tensor of shape (4, 1); expected a tensor with one element, such as a mean "
        "(toy.py, line 37, in loss)",
    ),
    "loss that is a number": (
        (LOSS, "return 1.0"),
        "loss returns float; expected a tensor with one element, such as a mean (toy.py, line 37, in loss)",
    ),
    "loss that is not finite": (
        (LOSS, "return (model(x) - y).sum() / 0"),
        "the loss is inf at step 0; expected a finite number (toy.py, line 37, in loss)",
    ),
    "loss that fails": (
        (LOSS, "return nothing"),
        "NameError: name 'nothing' is not defined (toy.py, line 39, in loss)",
    ),
    "no model": (
        ("return Net(self.options.width)", "pass"),
        "model returns NoneType; expected a torch.nn.Module (toy.py, line 34, in model)",
    ),
    "model that fails": (
        ("nn.Linear(width, 1)", "nn.Linear(width)"),
        "TypeError: Linear.__init__() missing 1 required positional argument: 'out_features' "
        "(toy.py, line 14, in __init__)",
    ),
    "model on another device": (
        ("return Net(self.options.width)", "return Net(self.options.width).to('meta')"),
        "model returns a module on meta; build it on the CPU (toy.py, line 34, in model)",
    ),
    "data on another device": (
        ("generator=generator)", "generator=generator).to('meta')"),
        "data returns tensors on meta; return them on the CPU (toy.py, line 30, in data)",
    ),
    "data of another kind": (
        ("return ps.Data(train=(x, targets(x)), test=(x[:5], targets(x[:5])))", "return x"),
        "data returns Tensor; expected ps.Data(train=..., test=...) (toy.py, line 30, in data)",
    ),
    "metric that is missing": (
        ('return {"error":', 'return {} and {"error":'),
        "evaluate lacks error; expected error (toy.py, line 41, in evaluate)",
    ),
    "metric that is not declared": (
        ('return {"error":', 'return {"other": 1, "error":'),
        "evaluate returns other, not declared in metrics; expected error (toy.py, line 41, in evaluate)",
    ),
    "metric that is not finite": (
        ("(model(x) - y).abs().mean()}", "float('nan')}"),
        "the metric error is nan after some steps; expected a finite number (toy.py, line 41, in evaluate)",
    ),
    "data drawn from elsewhere": (
        ("torch.randn(20, 8, generator=generator)", "torch.randn(20, 8) + __import__('os').urandom(1)[0]"),
        "the recipe draws random numbers that are not from its generators: the same seed, trained twice, has other "
        "data (toy.py, line 30, in data)",
    ),
    "weights drawn from elsewhere": (
        ("return Net(self.options.width)", "torch.seed(); return Net(self.options.width)"),
        "the recipe draws random numbers that are not from its generators: the same seed, trained twice, has other "
        "initial weights (toy.py, line 34, in model)",
    ),
    "losses drawn from elsewhere": (
        (LOSS, LOSS + " * (1 + torch.rand((), generator=NOISE))", *NOISE),
        "the recipe draws random numbers that are not from its generators: the same seed, trained twice, has another "
        "loss at step 0 (toy.py, line 40, in loss)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_every_variant_is_one_line_with_file_and_line(fault: str, changed: Changed) -> None:
    texts, line = FAULTS[fault]
    report = check_recipe(changed(*texts))
    assert report.problems == (line,)


@pytest.mark.parametrize(
    ("variant", "line"),
    [
        ("halved", "twice: is another function than the model as built: outputs that differ by up to 0.5, relative to "
         "the largest one (toy.py, line 20, in halved)"),
        ("lambda model: nn.Sequential(model, nn.Flatten(0))", "twice: is another function than the model as built: "
         "outputs of other shapes, relative to the largest one (toy.py, line 33, in <lambda>)"),
        ("lambda model: 3", "twice: the variant twice returns int; expected a torch.nn.Module"),
    ],
)  # fmt: skip
def test_a_variant_that_is_another_function_is_named_with_file_and_line(
    variant: str, line: str, changed: Changed
) -> None:
    report = check_recipe(changed("lambda model: model", variant, "\n\nclass Toy", f"\n\n{HALVED}class Toy"))
    assert report.problems == (line,)
    assert [check.name for check in report.variants][:3] == ["conv", "local", "wide"]


def test_data_that_depend_on_the_variant_are_named(changed: Changed) -> None:
    counted = changed(
        "x = torch.randn(20, 8, generator=generator)",
        "x = torch.randn(20, 8, generator=generator) + (next(CALLS) > 4)",
        "class Toy",
        "CALLS = iter(range(99))\n\n\nclass Toy",
    )
    problems = check_recipe(counted).problems
    assert any(problem.startswith("twice: the data differ from those of conv") for problem in problems)


@pytest.mark.parametrize("options", [{"width": "wide"}, {"nothing": 1}])
def test_an_option_that_is_not_valid_is_refused(options: dict[str, Any], toy: Target) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        check_recipe(toy, options)


def test_a_check_leaves_random_state_alone(toy: Target) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_recipe(toy)
    assert torch.equal(torch.rand(2), expected)
