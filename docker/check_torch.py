"""Fail a build whose torch is not of the requested variant: `check_torch.py cpu|cuda`.

Otherwise print the CUDA libraries that this torch requires. It is not imported, since they are not installed yet.
"""

import re
import runpy
import sys
from importlib.metadata import distribution

torch = distribution("torch")
build = runpy.run_path(str(torch.locate_file("torch/version.py")))
requested = sys.argv[1]
installed = "cuda" if build["cuda"] else "rocm" if build["hip"] else "cpu"
if installed != requested:
    sys.exit(
        f"TORCH_VARIANT is {requested}, but pip installed torch {torch.version} ({installed}); set "
        f"TORCH_VARIANT to {installed}, or choose an index with {requested} builds (TORCH_INDEX), or pass the wheel "
        "(--build-context wheels=FOLDER)"
    )
for requirement in torch.requires or []:
    if re.match(r"nvidia|cuda|triton|pytorch-triton", requirement) and "extra ==" not in requirement:
        sys.stdout.write(f"{requirement}\n")
