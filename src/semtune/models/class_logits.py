"""Logits and loss by the causal-LM class's own forward: what it does after the decoder, whatever that is.

Most classes apply their output embedding and nothing else; their loss is a fused linear cross-entropy. Others scale the
logits (Granite, Cohere), cap them (Gemma), or have layers before the embedding (ModernBERT-decoder). For those the
class's own forward runs with its decoder replaced by one that returns given hidden states.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from semtune.models.decoder import decoders
from semtune.nn.linear_cross_entropy import CHUNK_BYTES


def class_logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """(rows, hidden_size) -> (rows, vocab_size), by the class's own forward.

    Raises RuntimeError where the class does not take its hidden states from `decoders`.
    """
    output = _DecoderOutput((hidden.unsqueeze(0),))
    calls: list[None] = []

    def forward(*args: Any, **kwargs: Any) -> _DecoderOutput:
        calls.append(None)
        return output

    input_ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
    with _replaced_forward(decoders(model), forward):
        logits: Tensor = model(input_ids=input_ids, use_cache=False).logits
    if not calls:
        raise RuntimeError(f"{type(model).__name__} takes its hidden states from another module than its decoder")
    return logits[0]


def class_loss(model: nn.Module, hidden: Tensor, targets: Tensor, vocab_size: int) -> Tensor:
    """Summed cross-entropy of `class_logits`, scalar, in fp32 (fp64 for fp64 input).

    Rows run in chunks whose logits are computed again for the backward, so that one chunk of logits exists at a time.
    """
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32

    def chunk_loss(rows: Tensor, row_targets: Tensor) -> Tensor:
        return F.cross_entropy(class_logits(model, rows).to(dtype), row_targets, reduction="sum")

    checkpointed: Callable[..., Any] = checkpoint  # typed here, as torch leaves it untyped
    total = torch.zeros((), dtype=dtype, device=hidden.device)
    step = max(1, CHUNK_BYTES // (vocab_size * dtype.itemsize))
    for rows, row_targets in zip(torch.split(hidden, step), torch.split(targets, step), strict=True):
        total = total + checkpointed(chunk_loss, rows, row_targets, use_reentrant=False)
    return total


@torch.no_grad()
def is_plain(model: nn.Module) -> bool:
    """Whether the class's logits are its output embedding of the hidden states, and nothing before or after it.

    The class's forward runs with both replaced: it must hand the decoder's tensor to the embedding, and return the
    embedding's own. No weight is read, so that it also works on meta-device and fake models. A class whose forward
    does not get as far as its decoder, or adds dimensions, counts as plain; a self-check compares its logits.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    if head is None:
        return False
    weight = getattr(head, "weight", None)
    like = weight if isinstance(weight, Tensor) and weight.dim() == 2 else torch.zeros(1, 4)
    hidden, logits = like.new_zeros(1, 2, like.shape[1]), like.new_zeros(1, 2, 3)
    inputs: list[Tensor] = []
    decoded: list[None] = []

    def embed(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        inputs.append(x)
        return logits

    def decode(*args: Any, **kwargs: Any) -> _DecoderOutput:
        decoded.append(None)
        return _DecoderOutput((hidden,))

    try:
        with _replaced_forward(decoders(model), decode), _replaced_forward([head], embed):
            output = model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=like.device), use_cache=False).logits
    except Exception:  # noqa: BLE001 - a foreign forward may raise whatever it likes
        return not decoded
    if output.shape != logits.shape:
        return True
    same_input = len(inputs) == 1 and (inputs[0] is hidden or inputs[0]._base is hidden)
    return same_input and inputs[0].shape == hidden.shape and output is logits


def hidden_width(model: nn.Module) -> int:
    """Size of the decoder's output states: not the config's hidden size where they are projected (some OPT models)."""
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    weight = getattr(head, "weight", None)
    plain = isinstance(weight, Tensor) and weight.dim() == 2 and is_plain(model)
    return int(weight.shape[1] if plain and weight is not None else config.hidden_size)


class _DecoderOutput(tuple[Tensor]):
    """A decoder's output that has hidden states alone: first element and `last_hidden_state`; all else is None."""

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        return


@contextlib.contextmanager
def _replaced_forward(modules: Sequence[nn.Module], forward: Callable[..., Any]) -> Iterator[None]:
    for module in modules:
        module.forward = forward
    try:
        yield
    finally:
        for module in modules:
            del module.forward
