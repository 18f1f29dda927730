"""Linear layers behind one protocol (`contracts.LinearLayer`), whatever the storage of their weight."""

from semtune.nn.linear.frozen import FrozenLinear, QuantizedLinear, frozen_linear
from semtune.nn.linear.int4 import Int4Linear
from semtune.nn.linear.nf4 import NF4Linear
from semtune.nn.linear.panel import PanelLinear, use_panels
from semtune.nn.linear.plain import (
    adapter_dtype,
    as_linear_layer,
    is_linear_layer,
    stored_numel,
    total_numel,
    train_refusal,
)
from semtune.nn.linear.prepacked import PrepackedLinear
from semtune.nn.linear.upcast import UpcastLinear
from semtune.nn.panels import HALF_DTYPES

__all__ = [
    "HALF_DTYPES",
    "FrozenLinear",
    "Int4Linear",
    "NF4Linear",
    "PanelLinear",
    "PrepackedLinear",
    "QuantizedLinear",
    "UpcastLinear",
    "adapter_dtype",
    "as_linear_layer",
    "frozen_linear",
    "is_linear_layer",
    "stored_numel",
    "total_numel",
    "train_refusal",
    "use_panels",
]
