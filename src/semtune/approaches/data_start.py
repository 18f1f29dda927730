"""Forwards of training batches for a method that begins by looking at data (`start_on_data` of `contracts.Method`)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from semtune.contracts import Method, TokenizedExample
from semtune.records import MethodSettings

Loss = Callable[[Sequence[TokenizedExample]], Any]
"""A readout's loss of a batch, which runs the model on it."""


def start_on_data(
    method: Method,
    model: nn.Module,
    settings: MethodSettings,
    loss: Loss,
    texts: Sequence[TokenizedExample],
    *,
    batch_size: int,
    seed: int,
) -> None:
    """Let `method` look at batches of `texts`, in an order drawn from `seed`; without the hook nothing happens."""
    hook = getattr(method, "start_on_data", None)
    if hook is not None:
        model.eval()
        hook(model, settings, _forwards(loss, texts, batch_size, seed))


def _forwards(
    loss: Loss, texts: Sequence[TokenizedExample], batch_size: int, seed: int
) -> Iterator[tuple[int, Callable[[], None]]]:
    order = list(texts)
    random.Random(seed).shuffle(order)
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]

        def run(batch: Sequence[TokenizedExample] = batch) -> None:
            with torch.no_grad():
                loss(batch)

        yield sum(map(len, batch)), run
