"""Fails a build whose torch is not the one asked for: `check_torch.py cpu|cuda`."""

import sys

import torch

asked = sys.argv[1]
found = "cuda" if torch.version.cuda else "rocm" if torch.version.hip else "cpu"
if found != asked:
    sys.exit(
        f"TORCH_VARIANT={asked} was asked for, but pip found torch {torch.__version__} ({found}): "
        f"ask for {found}, name an index that has the other one (TORCH_INDEX), or hand its wheel in "
        "(--build-context wheels=FOLDER)"
    )
