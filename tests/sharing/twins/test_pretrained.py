"""`from_pretrained` restores a saved twin of transformers, or the twin is not saved."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paramshare import untie
from paramshare.errors import SpecError
from support.models.model_libraries import WARNINGS_OF_TRANSFORMERS, transformers_or_skip

transformers: Any = transformers_or_skip()
pytestmark = WARNINGS_OF_TRANSFORMERS

TOKENS = torch.arange(3, 9)[None]


def gpt() -> Any:
    config = transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    return transformers.GPT2LMHeadModel(config).eval()


def albert() -> Any:
    config = transformers.AlbertConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=64, embedding_size=16,
    )  # fmt: skip
    return transformers.AlbertForMaskedLM(config).eval()


def t5() -> Any:
    config = transformers.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    return transformers.T5ForConditionalGeneration(config).eval()


@pytest.mark.parametrize("through", [lambda twin: twin, copy.deepcopy, lambda twin: pickle.loads(pickle.dumps(twin))])
def test_untied_transformer_is_still_untied_after_saving_and_loading(tmp_path: Path, through: Any) -> None:
    model = gpt()
    twin = through(untie(model, {"tie"}, kwargs={"input_ids": TOKENS}))
    with torch.no_grad():
        twin.lm_head.weight.mul_(2)
        twin.tie_weights()
        twin.save_pretrained(tmp_path)
        loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
        assert loaded.lm_head.weight is not loaded.transformer.wte.weight
        assert loaded.lm_head.weight.equal(2 * model.lm_head.weight)
        torch.testing.assert_close(loaded(TOKENS).logits, 2 * model(TOKENS).logits)
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight is model.transformer.wte.weight


def test_twin_of_two_parts_computes_the_same_function_after_loading(tmp_path: Path) -> None:
    inputs = {"input_ids": TOKENS, "decoder_input_ids": TOKENS}
    model = t5()
    twin = untie(model, {"tie"}, kwargs=inputs)
    with torch.no_grad():
        torch.testing.assert_close(twin(**inputs).logits, model(**inputs).logits)
        for parameter in twin.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        twin.save_pretrained(tmp_path)
        loaded = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(loaded(**inputs).logits, twin(**inputs).logits)


class Flag:
    tie_word_embeddings = True


class Scaled(nn.Module):
    """A model whose forward reads the flag that ties, as T5's did."""

    def __init__(self, config: Flag) -> None:
        super().__init__()
        self.config, self.a, self.b = config, nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x))
        return out / 2 if self.config.tie_word_embeddings else out

    def save_pretrained(self, path: Path) -> None:
        raise AssertionError(path)


def test_model_whose_forward_reads_the_tie_flag_keeps_it_and_is_not_saved(tmp_path: Path) -> None:
    model, x = Scaled(Flag()), torch.randn(2, 3)
    twin = untie(model, {"tie"}, (3,))
    assert twin(x).equal(model(x))
    with pytest.raises(SpecError, match="cannot save this twin"):
        twin.save_pretrained(tmp_path)


@pytest.mark.parametrize(("make", "axes"), [(gpt, {"tie", "space"}), (albert, {"tie", "depth"}), (albert, {"depth"})])
def test_twin_that_would_load_as_another_model_is_not_saved(tmp_path: Path, make: Any, axes: set[str]) -> None:
    model = make()
    inputs = {"input_ids": TOKENS}
    twin = untie(model, axes, kwargs=inputs)
    with torch.no_grad():
        torch.testing.assert_close(twin(**inputs).logits, model(**inputs).logits)
    with pytest.raises(SpecError, match=r"cannot save this twin: .*; save twin\.state_dict\(\), and load it into a"):
        twin.save_pretrained(tmp_path)
    assert not [*tmp_path.iterdir()]
