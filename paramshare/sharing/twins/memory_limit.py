"""Check the size of a twin before memory is allocated for it."""

import os
import re
from collections import defaultdict
from pathlib import Path

import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.tensors.regions import Region, covered, region_of, storage_of
from paramshare.sharing.text import readable_bytes
from paramshare.sharing.tracing.module_stack import ROOT

__all__ = ["available_memory", "check_size"]


def check_size(twin: nn.Module, limit: int) -> None:
    """Check that the parameters of a twin take at most `limit` bytes.

    Args:
        twin: the twin on the meta device.
        limit: maximum number of bytes.

    Raises:
        SpecError: the parameters take more.
    """
    regions: defaultdict[int, list[Region]] = defaultdict(list)
    sizes: dict[int, int] = {}
    layers: dict[int, str] = {}
    for name, module in twin.named_modules():
        for parameter in module.parameters(recurse=False):
            storage = storage_of(parameter)
            regions[storage].append(region_of(parameter))
            sizes[storage] = parameter.untyped_storage().nbytes()
            layers.setdefault(storage, f"{name or ROOT} ({type(module).__name__})")
    total = sum(sizes.values())
    if total > limit:
        elements = sum(map(covered, regions.values()))
        largest = max(sizes, key=sizes.__getitem__)
        raise SpecError(
            f"the twin would have {elements:,} parameters in {readable_bytes(total)}, of which "
            f"{readable_bytes(sizes[largest])} in {layers[largest]}; the limit is {readable_bytes(limit)}; give fewer "
            "axes, a smaller input, or a larger limit"
        )


def available_memory(model: nn.Module) -> int:
    """Return the number of free bytes on the device of the model's parameters."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists() and (match := re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())):
        return int(match[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
