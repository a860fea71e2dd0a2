"""Unusual models are traced, or refused by name."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze
from paramshare.errors import SpecError
from support.models.function_models import counted, refusal


def test_lazy_layers_take_their_size_from_the_input() -> None:
    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyConv1d(3, 1))
    totals = analyze(model, (2, 7)).totals
    assert totals.shared == totals.per_use == 40 + 9
    assert isinstance(model[0].weight, nn.UninitializedParameter)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # the compiler's own
def test_compiled_modules_and_functions_count_as_their_originals() -> None:
    inner = nn.Linear(4, 4)
    compiled = nn.Sequential(torch.compile(inner), nn.ReLU(), inner)
    report = analyze(compiled, (4,))
    assert [(row.name, row.kind, row.uses) for row in report.layers] == [("0", "Linear", 2)]
    in_place = nn.Linear(4, 4)
    in_place.compile()
    assert analyze(in_place, (4,)).totals.unshared == 20
    assert counted(torch.compile(lambda x, w: x @ w), (3, 4), w=torch.randn(4, 5)).totals.unshared == 60


def test_encoder_with_padding_mask_is_traced_without_the_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    mask = torch.tensor([[False, False, True]])
    model, sample = nn.TransformerEncoder(layer, 2), torch.randn(1, 3, 8)
    padded = analyze(model, args=[sample], kwargs={"src_key_padding_mask": mask})
    assert padded.totals == analyze(model, args=[sample]).totals
    assert padded.totals.unused == 0
    assert padded.warnings == ()
    assert torch.backends.mha.get_fastpath_enabled()


def test_operator_with_function_arguments_is_named_in_the_error() -> None:
    said = refusal(lambda x, w: torch.cond(x.sum() > 0, lambda x: x * w, lambda x: x + w, (x,)))
    assert "(model) (Function) cannot be traced without values" in said
    assert said.endswith("the functions in the arguments of cond are not traced")


def test_script_module_is_refused_by_its_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.trace(nn.Linear(4, 4), torch.randn(1, 4))
    with pytest.raises(
        SpecError, match=r"^the model \(TopLevelTracedModule\) is a TorchScript module, whose code cannot"
    ):
        analyze(script, (4,))


def test_parameters_outside_of_the_model_are_counted_and_reported() -> None:
    apart = nn.Linear(3, 3)

    class Reaches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.own(apart(apart(x)))
            return out

    report = analyze(Reaches(), (3,))
    assert [(row.name, row.counts.shared, row.uses) for row in report.layers] == [("(model)", 12, 2), ("own", 12, 1)]
    assert report.totals.per_use == 3 * 12
    assert report.warnings == (
        "(model) uses parameters that the model does not hold (2): they are counted, but an optimizer of "
        "`model.parameters()` will not train them",
    )


def test_module_copied_during_the_pass_is_traced_in_the_copy() -> None:
    class Copies(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = copy.deepcopy(self.layer)(x)
            return out

    report = analyze(Copies(), (3,))
    assert (report.totals.per_use, report.totals.macs, report.totals.unused) == (12, 9, 12)
    assert report.warnings[0].startswith("layer uses parameters that the model does not hold (2)")
