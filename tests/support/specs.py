"""Make specs of the built-in recipes and read their results."""

import dataclasses
from typing import Any

from paramshare.recipes.dynamicnet.recipe import with_mean
from paramshare.recipes.dynamicnet.variants import DEPTHS
from paramshare.recipes.metrics import FINAL
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import TARGETS
from paramshare.training.result import Result

__all__ = ["DIGITS_VARIANTS", "depth_losses", "digits_spec", "options_of", "replace"]

DIGITS_VARIANTS = TARGETS["digits"].variants


def digits_spec(**values: Any) -> Spec:
    """Return the spec of one training on digits."""
    return TARGETS["digits"].new(**values)


def options_of(spec: Spec) -> Any:
    """Return the options of a spec."""
    return spec.instance().options


def replace(changed: Any, **values: Any) -> Any:
    """Return a spec, or another frozen object, with other values: options of a spec, `depth_losses` of a result."""
    if "depth_losses" in values:
        final_metrics = with_mean(values.pop("depth_losses"))
        values["final_metrics"] = {f"{FINAL}{name}": value for name, value in final_metrics.items()}
    return changed.replace(**values) if isinstance(changed, Spec) else dataclasses.replace(changed, **values)


def depth_losses(result: Result) -> tuple[float, ...]:
    """Return the losses of a trained DynamicNet at the depths 0 to 3."""
    return tuple(result.final_metrics[f"final/loss_depth_{depth}"] for depth in DEPTHS)
