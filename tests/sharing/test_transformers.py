"""Test the counts of tiny transformers of common architectures by two oracles.

torch's FLOP counter gives the MACs of a real pass, and a real backward pass gives no gradient to unused parameters.
Each model is counted twice, from real weights and from a model on the meta device. Fused attention is off,
since the FLOP counter does not see it on a CPU.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from paramshare import analyze
from support.models.model_libraries import WARNINGS_OF_TRANSFORMERS, transformers_or_skip

transformers: Any = transformers_or_skip()
pytestmark = WARNINGS_OF_TRANSFORMERS

Inputs = dict[str, Tensor]


def tokens(count: int, name: str = "input_ids") -> Inputs:
    return {name: torch.arange(3, 3 + count)[None]}


def image(side: int = 32) -> Inputs:
    return {"pixel_values": torch.rand(1, 3, side, side)}


def sound() -> Inputs:
    return {"input_values": torch.rand(1, 640)}


TEXT = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
LLM = {**TEXT, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EXPERTS = {**LLM, "num_experts_per_tok": 2, "num_experts": 4, "moe_intermediate_size": 24}
GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
PAIR = {
    "vocab_size": 64, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
VIT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}
STAGES = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
AUDIO = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "conv_dim": [8, 8],
    "conv_kernel": [8, 4], "conv_stride": [4, 2], "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
SPEECH = {"num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 20}

one, two, image_and_text = tokens(12), tokens(12) | tokens(7, "decoder_input_ids"), tokens(8) | image()

FAMILIES: dict[str, tuple[str, dict[str, Any], Inputs]] = {
    "BertForMaskedLM": ("BertConfig", TEXT, one),
    "RobertaForMaskedLM": ("RobertaConfig", TEXT, one),
    "DistilBertForMaskedLM": (
        "DistilBertConfig",
        {"vocab_size": 64, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
        one,
    ),
    "AlbertForMaskedLM": ("AlbertConfig", {**TEXT, "num_hidden_layers": 3, "embedding_size": 16}, one),
    "ElectraForMaskedLM": ("ElectraConfig", {**TEXT, "embedding_size": 16}, one),
    "DebertaV2ForMaskedLM": (
        "DebertaV2Config",
        {**TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16,
         "norm_rel_ebd": "layer_norm", "share_att_key": True, "conv_kernel_size": 3},
        one,
    ),
    "MPNetModel": ("MPNetConfig", TEXT, one),
    "ModernBertForMaskedLM": (
        "ModernBertConfig",
        {**TEXT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
        one,
    ),
    "ConvBertModel": ("ConvBertConfig", {**TEXT, "embedding_size": 16}, one),
    "RoFormerModel": ("RoFormerConfig", {**TEXT, "embedding_size": 32}, one),
    "BigBirdModel": ("BigBirdConfig", {**TEXT, "block_size": 4, "num_random_blocks": 1}, tokens(48)),
    "LongformerModel": ("LongformerConfig", {**TEXT, "attention_window": 4}, tokens(16)),
    "FunnelModel": (
        "FunnelConfig",
        {"vocab_size": 64, "d_model": 32, "d_head": 8, "n_head": 4, "d_inner": 48, "block_sizes": [1, 2]},
        tokens(16),
    ),
    "XLNetLMHeadModel": (
        "XLNetConfig",
        {"vocab_size": 64, "d_model": 32, "d_inner": 48, "n_layer": 2, "n_head": 4},
        one,
    ),
    "GPT2LMHeadModel": ("GPT2Config", GPT, one),
    "GPTNeoForCausalLM": (
        "GPTNeoConfig",
        {"vocab_size": 64, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 64,
         "attention_types": [[["global", "local"], 1]], "window_size": 4},
        one,
    ),
    "GPTNeoXForCausalLM": ("GPTNeoXConfig", TEXT, one),
    "GPTJForCausalLM": ("GPTJConfig", {**GPT, "rotary_dim": 4}, one),
    "OPTForCausalLM": (
        "OPTConfig",
        {"vocab_size": 64, "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 64, "word_embed_proj_dim": 16},
        one,
    ),
    "BloomForCausalLM": ("BloomConfig", {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4}, one),
    "FalconForCausalLM": (
        "FalconConfig",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        one,
    ),
    "LlamaForCausalLM": ("LlamaConfig", LLM, one),
    "MistralForCausalLM": ("MistralConfig", LLM, one),
    "Qwen2ForCausalLM": ("Qwen2Config", LLM, one),
    "Gemma2ForCausalLM": ("Gemma2Config", {**LLM, "head_dim": 8}, one),
    "Phi3ForCausalLM": ("Phi3Config", LLM, one),
    "MixtralForCausalLM": ("MixtralConfig", {**LLM, "num_local_experts": 4}, one),
    "Qwen2MoeForCausalLM": ("Qwen2MoeConfig", {**EXPERTS, "shared_expert_intermediate_size": 20}, one),
    "Qwen3MoeForCausalLM": ("Qwen3MoeConfig", {**EXPERTS, "head_dim": 8}, one),
    "MambaForCausalLM": (
        "MambaConfig",
        {"vocab_size": 64, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "time_step_rank": 4},
        one,
    ),
    "Mamba2ForCausalLM": (
        "Mamba2Config",
        {"vocab_size": 64, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8,
         "n_groups": 2, "chunk_size": 4},
        one,
    ),
    "T5ForConditionalGeneration": ("T5Config", T5, two),
    "LongT5ForConditionalGeneration": (
        "LongT5Config",
        {**T5, "local_radius": 3, "encoder_attention_type": "transient-global", "global_block_size": 4},
        tokens(20) | tokens(7, "decoder_input_ids"),
    ),
    "BartForConditionalGeneration": ("BartConfig", PAIR, two),
    "MarianMTModel": ("MarianConfig", PAIR, two),
    "PegasusForConditionalGeneration": ("PegasusConfig", PAIR, two),
    "MBartForConditionalGeneration": ("MBartConfig", PAIR, two),
    "WhisperForConditionalGeneration": (
        "WhisperConfig",
        {**PAIR, **SPEECH},
        {"input_features": torch.rand(1, 8, 40), **tokens(5, "decoder_input_ids")},
    ),
    "ViTForImageClassification": ("ViTConfig", VIT, image()),
    "DeiTForImageClassificationWithTeacher": ("DeiTConfig", VIT, image()),
    "BeitForImageClassification": ("BeitConfig", {**VIT, "use_relative_position_bias": True}, image()),
    "Dinov2Model": ("Dinov2Config", VIT, image(40)),
    "SwinForImageClassification": ("SwinConfig", SWIN, image()),
    "Swinv2ForImageClassification": ("Swinv2Config", SWIN, image()),
    "ConvNextForImageClassification": ("ConvNextConfig", STAGES, image()),
    "SegformerForSemanticSegmentation": (
        "SegformerConfig",
        {**STAGES, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16},
        image(64),
    ),
    "CLIPModel": (
        "CLIPConfig",
        {"text_config": {**TEXT, "eos_token_id": 2}, "vision_config": VIT, "projection_dim": 16},
        image_and_text,
    ),
    "SiglipModel": ("SiglipConfig", {"text_config": TEXT, "vision_config": VIT}, image_and_text),
    "YolosForObjectDetection": ("YolosConfig", {**VIT, "image_size": [32, 32], "num_detection_tokens": 5}, image()),
    "Wav2Vec2Model": ("Wav2Vec2Config", AUDIO, sound()),
    "HubertModel": ("HubertConfig", AUDIO, sound()),
    "PatchTSTModel": (
        "PatchTSTConfig",
        {"num_input_channels": 3, "context_length": 32, "patch_length": 8, "patch_stride": 8, "d_model": 16,
         "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24},
        {"past_values": torch.rand(1, 32, 3)},
    ),
}  # fmt: skip


def build(name: str) -> nn.Module:
    config, arguments, _ = FAMILIES[name]
    model: nn.Module = getattr(transformers, name)(getattr(transformers, config)(**arguments))
    return model.eval().requires_grad_()  # also what is not trained shows whether it is used


def grouped(rows: torch.Size, experts: torch.Size, *_: object, **__: object) -> int:
    """Return the FLOPs of a grouped matrix product, which torch's counter leaves out."""
    return 2 * prod(rows) * experts[-1]


def distinct(parameters: list[nn.Parameter]) -> int:
    return sum({parameter.untyped_storage()._cdata: parameter.numel() for parameter in parameters}.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_transformer_macs_are_half_of_torchs_flops_and_unused_weights_get_no_gradient(name: str) -> None:
    model, inputs = build(name), FAMILIES[name][2]
    mapping: dict[Any, Callable[..., int]] = {torch.ops.aten._grouped_mm: grouped}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter, sdpa_kernel(SDPBackend.MATH):
        outputs = [leaf for leaf in tree_leaves(model(**inputs)) if isinstance(leaf, Tensor) and leaf.requires_grad]
    torch.autograd.backward([output.sum() for output in outputs])
    with torch.device("meta"):
        without_memory = build(name)
    for counted in (model, without_memory):
        totals = analyze(counted, kwargs=inputs).totals
        assert 2 * totals.macs == counter.get_total_flops()
        assert totals.shared == distinct(list(model.parameters()))
        assert totals.unused == distinct([parameter for parameter in model.parameters() if parameter.grad is None])
        assert totals.per_use >= totals.used
