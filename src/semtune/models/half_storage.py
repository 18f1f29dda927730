"""Frozen weights in the half precision of their file under fp32 activations, on a CPU.

A machine that does not multiply bf16 computes in fp32. Most files have their weights in bf16 or fp16, so storing
the frozen ones as they are gives the same numbers in half the memory: those of the decoder's linear layers
(`nn.linear.UpcastLinear`), and those of the token embedding and the output embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from semtune.nn.linear import HALF_DTYPES, PanelLinear, UpcastLinear
from semtune.nn.linear.frozen import frozen_parameter, plain_linear


class UpcastEmbedding(nn.Embedding):
    """An embedding whose weight is stored in half precision; its vectors are fp32."""

    def forward(self, input: Tensor) -> Tensor:
        """int64 (...) -> fp32 (..., hidden_size)."""
        return super().forward(input).float()


class HalfStorage:
    """Makes an `UpcastLinear` of each weight in half precision, a plain layer of any other; see `Quantization`."""

    name = "half storage"
    offloadable = False
    note: str | None = None

    def quantize(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> nn.Module:
        """Nothing is rounded: see `contracts.Quantization`."""
        if weight.dtype in HALF_DTYPES:
            return UpcastLinear(weight, bias, compute_dtype)
        return plain_linear(weight.to(compute_dtype), None if bias is None else frozen_parameter(bias, compute_dtype))


def half_storage(*, frozen: bool, dtype: torch.dtype, device: torch.device) -> HalfStorage | None:
    """How a model's linear weights are stored, for `meta_model.fill`; None: in `dtype`, the compute dtype.

    Args:
        frozen: whether no weight of the decoder's linear layers and embeddings is going to be trained in place.
    """
    return HalfStorage() if frozen and dtype == torch.float32 and device.type == "cpu" else None


def embedding_paths(model: nn.Module) -> set[str]:
    """Paths of the token embedding and the output embedding, where their classes add nothing to a lookup and a product.

    An embedding that scales its vectors, for example, would do so in half precision.
    """
    whole: Any = model
    plain: dict[type, Any] = {nn.Embedding: whole.get_input_embeddings(), nn.Linear: whole.get_output_embeddings()}
    chosen = [module for kind, module in plain.items() if type(module) is kind]
    tied = bool(whole.all_tied_weights_keys)
    if tied and len(chosen) < len(plain):
        return set()  # both share the weight, and one of them needs it in the compute dtype
    return {path for path, module in model.named_modules() if any(module is one for one in chosen)}


def use_half_embeddings(model: nn.Module, paths: set[str]) -> None:
    """Make the modules at `paths` compute in fp32 where their weight is in half precision."""
    for path in paths:
        module = model.get_submodule(path)
        if module.weight.dtype in HALF_DTYPES:
            module.__class__ = UpcastEmbedding if isinstance(module, nn.Embedding) else PanelLinear
