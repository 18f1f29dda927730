"""Architectures whose blocks do not hand unknown keyword arguments on to their attention (StableLM, Nemotron)."""

from __future__ import annotations

from typing import Any

from torch import nn

from semtune.models.architectures.stock import StockArchitecture

_KEYWORD = "packed_batch"


class KeywordArchitecture(StockArchitecture):
    """Hands the packed batch from each block to its attention by hooks, which fire again in a recomputed forward."""

    def install(self, model: nn.Module) -> None:
        """Select semtune's attention and add the hooks, once."""
        super().install(model)
        for block in self.blocks(model):
            if any(isinstance(hook, _Take) for hook in block._forward_pre_hooks.values()):
                continue
            handed: dict[str, Any] = {}
            block.register_forward_pre_hook(_Take(handed), with_kwargs=True)
            for attention in block.modules():
                if hasattr(attention, "layer_idx") and hasattr(attention, "is_causal"):
                    attention.register_forward_pre_hook(_Give(handed), with_kwargs=True)


class _Take:
    """Remembers the block's keyword argument for the attention inside of it."""

    def __init__(self, handed: dict[str, Any]) -> None:
        self._handed = handed

    def __call__(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._handed[_KEYWORD] = kwargs.get(_KEYWORD)


class _Give:
    """Adds it to the attention's keyword arguments."""

    def __init__(self, handed: dict[str, Any]) -> None:
        self._handed = handed

    def __call__(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {_KEYWORD: self._handed.get(_KEYWORD)}


STABLELM = NEMOTRON = KeywordArchitecture()
