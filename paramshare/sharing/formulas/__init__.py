"""Closed formulas for the parameters and multiply-accumulates of each layer type: integers in, integers out.

The formulas use no torch and no model. `tracing` counts the same numbers by watching a model run; tests compare both.
"""

from paramshare.sharing.formulas.attention_layers import attention
from paramshare.sharing.formulas.convolutions import conv, conv_transpose
from paramshare.sharing.formulas.elementwise_layers import norm, prelu
from paramshare.sharing.formulas.linear_layers import bilinear, embedding, linear
from paramshare.sharing.formulas.recurrent_layers import rnn
from paramshare.sharing.formulas.regimes import Regimes

__all__ = [
    "Regimes",
    "attention",
    "bilinear",
    "conv",
    "conv_transpose",
    "embedding",
    "linear",
    "norm",
    "prelu",
    "rnn",
]
