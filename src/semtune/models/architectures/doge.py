"""Doge: a bias on every key, which follows from its value (dynamic mask attention, arXiv:2412.11834).

The bias is the same for all queries of a head, so it goes into the scores as one more component of queries and keys.
Where a text is longer than `keep_window_size`, Doge also drops the keys with the smallest biases; `check_positions`
refuses such texts.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from semtune.models.architectures.stock import StockArchitecture


class DogeArchitecture(StockArchitecture):
    """Hands the keys' biases to the packed attention in place of a mask over all tokens of the row."""

    def install(self, model: nn.Module) -> None:
        """Select semtune's attention; each attention module combines mask and bias by our function when packed."""
        super().install(model)
        modules: list[Any] = [m for m in model.modules() if hasattr(type(m), "prepare_dynamic_mask")]
        for module in modules:
            module.prepare_dynamic_mask = _Mask(module)


class _Mask:
    """An attention module's `prepare_dynamic_mask`; a class, so that the module can be copied."""

    def __init__(self, attention: nn.Module) -> None:
        kind: Any = type(attention)
        self._own = kind.prepare_dynamic_mask

    def __call__(
        self, hidden_states: Tensor, dt_states: Tensor, keep_window_size: int, attention_mask: Tensor | None = None
    ) -> Tensor:
        """The biases (1, kv_heads, 1, tokens) for a packed batch, else what the module's own method gives."""
        if attention_mask is not None and tuple(attention_mask.shape) == (1, 1, 1, 1):
            return dt_states[:, :, None, :]
        mask: Tensor = self._own(None, hidden_states, dt_states, keep_window_size, attention_mask)
        return mask


DOGE = DogeArchitecture()
