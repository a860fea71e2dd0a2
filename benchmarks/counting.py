"""Measure the time of `paramshare.analyze`: compared with other counters, and for a model of 70 billion parameters.

    make bench

Covered: one analysis of ResNet-50 at 224 × 224 and of GPT-2 at 128 tokens, compared with torchinfo, fvcore and
calflops, called as in their documentation. Each model is built once. In every round each tool runs once in this
process, in random order. The result is the median over the rounds, as a ratio to paramshare's, since ratios depend less
on the machine than seconds. Then, each in its own process, a model of the size of Llama-2-70B at 4096 tokens on the
meta device (seconds, and the peak memory of the process with all imports), and nets of 1,000 to 8,000 layers (seconds
per layer).
Not covered: the counts themselves. The other tools count only shared parameters; the tests check the tie in GPT-2.

The exit code is 1 if a claim of docs/speed.md does not hold: another tool is faster, or the large model takes more than
5 s or 1 GiB.
"""

import argparse
import contextlib
import io
import json
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from measuring import machine, peak_mib

Count = Callable[[], object]

LARGE_SECONDS, LARGE_GIB = 5.0, 1.0


def main() -> int:
    """Measure, print Markdown, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each tool runs (default: 7)")
    parser.add_argument("--part", choices=("large", "layers"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps({"large": large, "layers": layers}[options.part]()))
        return 0
    print(f"{machine()}\n")
    slower = beside_others(options.rounds)
    measured = {part: in_a_process(part) for part in ("large", "layers")}
    largest = measured["large"]
    print(f"\nLlama-2-70B-sized, 4096 tokens: {largest['seconds']:.2f} s, {largest['gib']:.2f} GiB at the peak")
    print(f"Layers: {', '.join(f'{n:,}: {us:.0f} µs each' for n, us in measured['layers']['microseconds'])}")
    holds = not slower and largest["seconds"] <= LARGE_SECONDS and largest["gib"] <= LARGE_GIB
    print("\nAll claims hold." if holds else f"\nNOT all claims hold; faster than ours: {', '.join(slower) or 'none'}")
    return 0 if holds else 1


def beside_others(rounds: int) -> list[str]:
    """Print a row for each model; return the names of tools that were faster than paramshare."""
    print("| model | paramshare | torchinfo | fvcore | calflops |\n| :-- | --: | --: | --: | --: |")
    faster = []
    for model, tools in models().items():
        seconds: dict[str, list[float]] = {name: [] for name in tools}
        for _ in range(rounds + 1):
            for name in random.sample(list(tools), len(tools)):
                start = time.perf_counter()
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    tools[name]()
                seconds[name].append(time.perf_counter() - start)
        middle = {name: median(times[1:]) for name, times in seconds.items()}  # the first round warms up
        ours = middle["paramshare"]
        faster += [f"{name} on {model}" for name, time_ in middle.items() if time_ < ours]
        ratios = (f"{middle[name] / ours:.1f}×" for name in ("torchinfo", "fvcore", "calflops"))
        print(f"| {model} | 1 ({ours * 1000:.0f} ms) | {' | '.join(ratios)} |")
    return faster


def models() -> dict[str, dict[str, Count]]:
    """Return the call of each tool, by model."""
    import torch

    torchvision, transformers = libraries()
    resnet = torchvision.models.resnet50().eval()
    gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(use_cache=False)).eval()
    image, tokens = torch.rand(1, 3, 224, 224), torch.zeros(1, 128, dtype=torch.long)
    return {
        "ResNet-50": tools(resnet, image, (3, 224, 224), None, {"args": [image]}),
        "GPT-2, 128 tokens": tools(gpt2, tokens, (128,), torch.long, {"kwargs": {"input_ids": tokens}}),
    }


def tools(model: Any, sample: Any, size: tuple[int, ...], dtype: Any, called: dict[str, Any]) -> dict[str, Count]:
    """Return the call of each tool that makes a table of parameters and operations."""
    import calflops
    import fvcore.nn
    import torchinfo

    import paramshare

    return {
        "paramshare": lambda: paramshare.analyze(model, size, dtypes=dtype).table(),
        "torchinfo": lambda: str(torchinfo.summary(model, input_data=sample, verbose=0)),
        "fvcore": lambda: fvcore.nn.flop_count_table(fvcore.nn.FlopCountAnalysis(model, sample)),
        "calflops": lambda: calflops.calculate_flops(model=model, **called, print_results=True),
    }


def in_a_process(part: str) -> dict[str, Any]:
    """Run a part of this program in a new process and return its measurement."""
    done = subprocess.run([sys.executable, __file__, "--part", part], stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def large() -> dict[str, float]:
    """Measure one analysis of a model of the size of Llama-2-70B."""
    import torch

    _, transformers = libraries()
    config = transformers.LlamaConfig(
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=32000,
        max_position_embeddings=4096,
    )
    from paramshare import analyze

    start = time.perf_counter()
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    report = analyze(model, (4096,), dtypes=torch.long)
    seconds = time.perf_counter() - start
    assert report.totals.shared == 68_976_648_192
    return {"seconds": seconds, "gib": peak_mib() / 1024}


def layers() -> dict[str, list[tuple[int, float]]]:
    """Measure the microseconds per layer for nets of several depths."""
    from torch import nn

    from paramshare import analyze

    microseconds = []
    analyze(nn.Linear(8, 8), (8,))
    for number in (1000, 2000, 4000, 8000):
        model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(number)))
        start = time.perf_counter()
        analyze(model, (8,))
        microseconds.append((number, (time.perf_counter() - start) / number * 1e6))
    return {"microseconds": microseconds}


def libraries() -> tuple[Any, Any]:
    """Import torchvision and transformers with any build of torch."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    warnings.simplefilter("ignore")
    from support.models.model_libraries import import_torchvision, import_transformers

    return import_torchvision(), import_transformers()


if __name__ == "__main__":
    sys.exit(main())
