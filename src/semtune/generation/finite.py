"""Outputs of a model that are no numbers: found where they arise, before a token or a label is read from them."""

from __future__ import annotations

import torch
from torch import Tensor

from semtune.errors import DivergedError


def check_numbers(values: Tensor, what: str) -> None:
    """Raises DivergedError where `values` contain NaN or positive infinity.

    Negative infinity is the logarithm of 0: a token that a model can never generate. `what` names the values.
    """
    # The question is put so that a plan's fake tensors, whose values read as 0, answer no.
    if bool((torch.isnan(values) | torch.isposinf(values)).any()):
        raise DivergedError(
            f"The model's {what} are not finite numbers: the weights or their precision are at fault; lower "
            "--learning-rate, use a wider --precision, or check the base model."
        )
