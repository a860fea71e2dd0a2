"""Test the counts by figures that papers print, and by figures that libraries keep of their own models.

Exact figures are met to the integer, rounded figures to their rounding. `published_models.py` has the sources.
"""

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from paramshare import analyze
from paramshare.sharing.report import SharingReport
from support.models import published_models as published
from support.models.model_libraries import import_torchvision, import_transformers, without_memory
from support.repetitions import DRAWS

LACKING = "{} is not installed: pip install 'paramshare[zoo]'"
TOKENS = (64,)  # one sample's


def or_none(imported: Callable[[], ModuleType]) -> Any:
    try:
        return imported()
    except ImportError:
        return None


torchvision = or_none(import_torchvision)
transformers = or_none(import_transformers)
needs_torchvision = pytest.mark.skipif(torchvision is None, reason=LACKING.format("torchvision"))
needs_transformers = pytest.mark.skipif(transformers is None, reason=LACKING.format("transformers"))


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build().eval()


def millions(number: int) -> int:
    return round(number / 1e6)


def by_layer(report: SharingReport) -> dict[str, tuple[int, int]]:
    """Return the free parameters and connections of each direct part of a net."""
    return {row.name: (row.counts.shared, row.counts.unshared) for row in report.rows(depth=1)}


# Papers on shared weights in small nets: free parameters and connections, that is, shared and unshared.


@pytest.mark.parametrize(
    ("build", "free", "connections"),
    [
        (published.net1, 2_570, 2_570),
        (published.net2, 3_214, 3_214),
        (published.net3, 1_226, 1_226),
        (published.net4, 1_132, 2_266),
        (published.net5, 1_060, 5_194),
        (published.ZipCodeNet, 9_760, 64_660),
    ],
)
def test_the_nets_of_1989_have_their_printed_free_parameters_and_connections(
    build: Callable[[], nn.Module], free: int, connections: int
) -> None:
    totals = analyze(on_meta(build), input_size=(1, 16, 16)).totals
    assert (totals.shared, totals.unshared) == (free, connections)
    assert (totals.per_use, totals.unused) == (free, 0)


def test_each_layer_of_the_zip_code_net_has_its_printed_free_parameters_and_connections() -> None:
    report = analyze(on_meta(published.ZipCodeNet), input_size=(1, 16, 16))
    assert by_layer(report) == {
        "h1": (1_068, 19_968),
        "h2": (2_592, 38_592),
        "h3": (5_790, 5_790),
        "output": (310, 310),
    }


def test_each_layer_of_lenet_5_has_its_printed_trainable_parameters_and_connections() -> None:
    report = analyze(on_meta(published.LeNet5), input_size=(1, 32, 32))
    layers = by_layer(report)
    fixed = layers.pop("(model)")
    assert layers == {
        "c1": (156, 122_304),
        "s2": (12, 5_880),
        "c3": (1_516, 151_600),
        "s4": (32, 2_000),
        "c5": (48_120, 48_120),
        "f6": (10_164, 10_164),
    }
    assert fixed == (840, 840)  # centres, which are not trained
    assert report.totals.shared - fixed[0] == 60_000
    assert report.totals.memory["shared"].trainable == 60_000 * 4
    assert report.totals.unshared == 340_908


def test_local_layers_of_deepface_share_nothing() -> None:
    report = analyze(on_meta(published.DeepFace), input_size=(3, 152, 152))
    assert report.totals.shared == 118_923_774
    assert report.totals.shared == pytest.approx(120e6, rel=0.02)  # "more than 120 million"
    local = [row.counts for row in report.layers if row.kind == "Local2d"]
    assert [counts.shared for counts in local] == [62_774_800, 7_850_000, 2_829_456]
    assert all(counts.shared == counts.per_use == counts.unshared for counts in local)


# Convolutional nets: parameters and multiply-accumulates.


def test_alexnet_of_2012_has_its_parameters_and_multiply_accumulates() -> None:
    totals = analyze(on_meta(published.AlexNet2012), input_size=(3, 227, 227)).totals
    assert totals.shared == 60_965_224
    assert millions(totals.macs) == 724


@pytest.mark.parametrize(
    ("width", "mult_adds", "parameters"), [(1.0, 569, "4.2"), (0.75, 325, "2.6"), (0.5, 149, "1.3"), (0.25, 41, "0.5")]
)
def test_mobilenets_of_every_width_have_the_parameters_and_mult_adds_of_their_table(
    width: float, mult_adds: int, parameters: str
) -> None:
    totals = analyze(on_meta(lambda: published.MobileNetV1(width)), input_size=(3, 224, 224)).totals
    assert millions(totals.macs) == mult_adds
    assert f"{totals.shared / 1e6:.1f}" == parameters
    if width == 1:
        assert (totals.shared, totals.macs) == (4_231_976, 568_740_352)


@needs_torchvision
@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [("vgg16", 138_357_544, 15_470_264_320), ("resnet50", 25_557_032, 4_089_184_256)],
)
def test_vgg_16_and_resnet_50_have_their_known_parameters_and_multiply_accumulates(
    name: str, parameters: int, macs: int
) -> None:
    totals = analyze(classifier(name), input_size=(3, 224, 224)).totals
    assert (totals.shared, totals.macs, totals.unused) == (parameters, macs, 0)


@needs_torchvision
def test_inception_v3_leaves_its_auxiliary_head_unused_when_it_evaluates() -> None:
    totals = analyze(classifier("inception_v3"), input_size=(3, 299, 299)).totals
    assert totals.shared == 27_161_264
    assert totals.shared - totals.unused == 23_834_568
    assert totals.macs == 5_713_216_096


# torchvision keeps the parameters and the giga-MACs of each of its classifiers beside the weights.

OPTIONS = {"googlenet": {"aux_logits": False, "init_weights": False}, "inception_v3": {"init_weights": False}}


def classifier(name: str, **options: object) -> nn.Module:
    with without_memory():
        return torchvision.models.get_model(name, **OPTIONS.get(name, {}), **options).eval()


def kept_figures() -> dict[str, tuple[str, int, int, float]]:
    """Return name, size of the image, parameters and giga-MACs, without repetitions between weights of one net."""
    names = {}
    for name in torchvision.models.list_models(module=torchvision.models) if torchvision else ():
        for weights in torchvision.models.get_model_weights(name):
            (size,) = weights.transforms().crop_size
            names[name, size, weights.meta["num_params"], weights.meta["_ops"]] = f"{name}-{size}"
    return {text: figures for figures, text in names.items()}


def drawn_figures() -> list[Any]:
    """Of each family the net with the fewest parameters, as a family is written once; with DRAWS above 1 all."""
    figures = kept_figures()
    if DRAWS == 1:
        family = {text: re.split(r"[\d_]", text)[0] for text in figures}
        smallest = {family[text]: text for text in sorted(figures, key=lambda text: -figures[text][2])}
        figures = {text: figures[text] for text in smallest.values()}
    return [pytest.param(*one, id=text) for text, one in figures.items()]


@needs_torchvision
@pytest.mark.parametrize(("name", "size", "parameters", "giga_macs"), drawn_figures())
def test_classifiers_of_torchvision_have_the_numbers_in_its_metadata(
    name: str, size: int, parameters: int, giga_macs: float
) -> None:
    options = {"image_size": size} if name.startswith("vit_") else {}
    totals = analyze(classifier(name, **options), input_size=(3, size, size)).totals
    assert totals.shared == parameters
    assert round(totals.macs / 1e9, 3) == giga_macs


@needs_torchvision
def test_all_classifiers_of_torchvision_are_tested() -> None:
    assert len({name for name, *_ in kept_figures().values()}) >= 80


# Transformers: ties between embeddings and outputs, and one layer applied over and over.


def on_tokens(model: nn.Module) -> SharingReport:
    return analyze(model, input_size=TOKENS, dtypes=torch.long)


@needs_transformers
def test_bert_base_has_its_parameters_each_used_once() -> None:
    totals = on_tokens(on_meta(lambda: transformers.BertModel(transformers.BertConfig()))).totals
    assert (totals.shared, totals.per_use, totals.unused) == (109_482_240, 109_482_240, 0)


ALBERTS = {
    "base": (11_683_584, {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}),
    "large": (17_683_968, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "xlarge": (58_724_864, {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16}),
}


@needs_transformers
@pytest.mark.parametrize("size", ALBERTS)
def test_an_albert_has_its_parameters_and_a_copy_of_its_layer_for_each_use(size: str) -> None:
    shared, options = ALBERTS[size]
    config = transformers.AlbertConfig(**options, intermediate_size=4 * options["hidden_size"])
    model = on_meta(lambda: transformers.AlbertModel(config))
    totals = on_tokens(model).totals
    assert totals.shared == shared
    (group,) = model.encoder.albert_layer_groups
    layer = sum(parameter.numel() for parameter in group.parameters())
    assert totals.per_use == shared + (options["num_hidden_layers"] - 1) * layer


@needs_transformers
def test_gpt_2_has_its_parameters_and_per_use_those_of_its_untied_twin() -> None:
    tied = on_meta(lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config()))
    untied = on_meta(lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(tie_word_embeddings=False)))
    report, twin = on_tokens(tied), on_tokens(untied)
    assert (report.totals.shared, report.totals.per_use) == (124_439_808, 163_037_184)
    assert (twin.totals.shared, twin.totals.per_use) == (163_037_184, 163_037_184)
    assert [set(tie.names) for tie in report.ties] == [{"transformer.wte.weight", "lm_head.weight"}]
    assert not twin.ties
    assert report.totals.macs == twin.totals.macs


@needs_transformers
def test_t5_small_has_its_parameters_and_a_copy_of_its_embedding_and_position_biases_for_each_use() -> None:
    config = transformers.T5Config(d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8)
    model = on_meta(lambda: transformers.T5ForConditionalGeneration(config))
    ids = torch.zeros(1, *TOKENS, dtype=torch.long, device="meta")
    totals = analyze(model, kwargs={"input_ids": ids, "decoder_input_ids": ids}).totals
    assert totals.shared == 60_506_624
    # The embedding serves encoder, decoder and output; each stack's position biases are added in all of its six layers.
    assert totals.per_use == totals.shared + 2 * 32_128 * 512 + 2 * 5 * 32 * 8 == 93_408_256


@needs_transformers
def test_llama_2_70b_is_counted_without_its_memory() -> None:
    config = transformers.LlamaConfig(
        vocab_size=32_000, hidden_size=8192, intermediate_size=28_672, num_hidden_layers=80, num_attention_heads=64,
        num_key_value_heads=8, max_position_embeddings=4096,
    )  # fmt: skip
    totals = on_tokens(on_meta(lambda: transformers.LlamaForCausalLM(config))).totals
    assert (totals.shared, totals.per_use, totals.unused) == (68_976_648_192, 68_976_648_192, 0)
