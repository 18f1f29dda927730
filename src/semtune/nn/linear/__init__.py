"""Linear layers behind one protocol (`contracts.LinearLayer`), whatever the storage of their weight."""

from semtune.nn.linear.frozen import FrozenLinear, QuantizedLinear, frozen_linear
from semtune.nn.linear.nf4 import NF4Linear
from semtune.nn.linear.plain import as_linear_layer, is_linear_layer, stored_numel
from semtune.nn.linear.prepacked import PrepackedLinear

__all__ = [
    "FrozenLinear",
    "NF4Linear",
    "PrepackedLinear",
    "QuantizedLinear",
    "as_linear_layer",
    "frozen_linear",
    "is_linear_layer",
    "stored_numel",
]
