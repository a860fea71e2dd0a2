"""Fail a build whose torch is not of the requested variant: `check_torch.py cpu|cuda`."""

import sys

import torch

requested = sys.argv[1]
installed = "cuda" if torch.version.cuda else "rocm" if torch.version.hip else "cpu"
if installed != requested:
    sys.exit(
        f"TORCH_VARIANT is {requested}, but pip installed torch {torch.__version__} ({installed}); set "
        f"TORCH_VARIANT to {installed}, or choose an index with {requested} builds (TORCH_INDEX), or pass the wheel "
        "(--build-context wheels=FOLDER)"
    )
