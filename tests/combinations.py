"""Which methods and readouts have something to train between them."""

from __future__ import annotations

from semtune.contracts import trains_readout_alone
from semtune.registry import METHODS, READOUTS

MODEL_TRAINING = [method for method in METHODS if not trains_readout_alone(METHODS.get(method))]
"""Methods that train parameters of the model, and so go with every readout."""
COMBINATIONS = [
    (method, readout)
    for method in METHODS
    for readout in READOUTS
    if method in MODEL_TRAINING or READOUTS.get(readout).has_parameters
]
"""(method, readout) that are not refused."""
