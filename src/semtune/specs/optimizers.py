"""Checks of what a run's optimizer combines with, before anything is loaded."""

from __future__ import annotations

from typing import Any

from semtune.errors import OptionError
from semtune.records import RunSpec
from semtune.registry import OPTIMIZERS


def check_optimizer(spec: RunSpec) -> None:
    """Check the optimizer of `spec` with the other options of its training. Imports the optimizer.

    Raises OptionError, UnknownNameError.
    """
    rule: Any = OPTIMIZERS.get(spec.optimizer)
    if not spec.fused_update:
        if spec.fused_clip != "tensor":
            raise OptionError(
                f"--fused-clip {spec.fused_clip} is about --fused-update; give --fused-update too, or leave it out."
            )
        return
    if not rule.uses_gradients:
        raise OptionError(
            f"The optimizer {spec.optimizer} runs no backward that --fused-update could update the weights in; leave "
            "--fused-update out, or give another --optimizer."
        )
    if spec.accumulation_steps > 1:
        raise OptionError(
            "--fused-update uses each gradient at once, so those of several micro-batches cannot be added up; give "
            "--accumulation-steps 1 (and --activation-checkpointing where memory is short), or leave --fused-update "
            "out."
        )


def check_device(spec: RunSpec, device_type: str) -> None:
    """Check that the optimizer of `spec` runs on a type of device, such as "cpu". Raises OptionError."""
    rule: Any = OPTIMIZERS.get(spec.optimizer)
    if device_type in rule.device_types:
        return
    others = [name for name in OPTIMIZERS if device_type in OPTIMIZERS.get(name).device_types]
    raise OptionError(
        f"The optimizer {spec.optimizer} runs on {' and '.join(sorted(rule.device_types))} alone, and this run's "
        f"device is {device_type}; give --optimizer {' or '.join(others)}."
    )
