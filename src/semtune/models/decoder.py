"""Where the decoder of a causal language model is: transformers' classes name it in many ways."""

from __future__ import annotations

from torch import nn


def base_of(model: nn.Module) -> nn.Module:
    """The module below the LM head; some classes name a prefix that they do not have, and then it is `model` itself."""
    from transformers import PreTrainedModel

    base: nn.Module = getattr(model, "base_model", model)
    if base is not model:
        return base
    return next((child for child in model.children() if isinstance(child, PreTrainedModel)), model)


def text_decoder(model: nn.Module) -> nn.Module:
    """The module that maps token ids to hidden states: without the vision tower of a multimodal model."""
    base = base_of(model)
    find = getattr(model, "get_decoder", None)
    decoder = find() if callable(find) else None
    return next((module for module in base.modules() if module is decoder), base)


def decoders(model: nn.Module) -> list[nn.Module]:
    """The modules that a causal-LM class may call for its hidden states: the base model, and its text decoder."""
    base, text = base_of(model), text_decoder(model)
    return [base] if text is base else [base, text]
