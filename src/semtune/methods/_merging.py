"""Merging modules that wrap a linear layer into it, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from semtune.errors import MergeRefusedError
from semtune.nn.linear import as_linear_layer


class Mergeable(Protocol):
    """A module around the linear layer `base`, which it can be merged into."""

    base: nn.Module

    def merged(self) -> nn.Module:
        """The layer that replaces the module."""
        ...


def merge_wrapped(model: nn.Module, wrapped: Mapping[str, Mergeable], reasons: Mapping[str, str] | None = None) -> None:
    """Replace each module by its merged layer, in place.

    Args:
        wrapped: the modules by their path in `model`.
        reasons: path -> why that layer refuses, in place of what the layer itself says.

    Raises MergeRefusedError where a base layer refuses (4-bit weights), before anything is changed.
    """
    for path, module in wrapped.items():
        refusal = as_linear_layer(module.base).merge_refusal
        if refusal is not None:
            raise MergeRefusedError(f"{path} {(reasons or {}).get(path, refusal)}")
    for path, module in wrapped.items():
        model.set_submodule(path, module.merged())
