"""The default architecture: transformers' own forward over a packed batch, with semtune's attention function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.contracts import Cache
from semtune.errors import ModelError
from semtune.models.packed_attention import install_attention
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.linear import is_linear_layer
from semtune.nn.packed_batch import PackedBatch, padding_to_multiple


class StockArchitecture:
    """A causal decoder whose layers mix tokens by attention alone; implements `contracts.Architecture`.

    Args:
        excluded_linears: last path components of linear layers that neither carry adapters nor are quantised (a
            mixture's router).
    """

    tree_attention = True

    def __init__(self, *, excluded_linears: Sequence[str] = ()) -> None:
        self._excluded_linears = frozenset(excluded_linears)

    def install(self, model: nn.Module) -> None:
        """Select semtune's attention. Raises ModelError for a model that also carries a recurrent state."""
        if getattr(model, "_is_stateful", False):
            kind = getattr(model.config, "model_type", type(model).__name__)
            raise ModelError(
                f'The architecture "{kind}" carries a state from token to token, which packed batches would mix '
                "between texts; choose a model without one, or register an architecture for it (see CONTRIBUTING.md)."
            )
        install_attention(model)

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """The modules of the classes that transformers never splits between devices."""
        return [block for _, block in self._named_blocks(model)]

    def attentions(self, model: nn.Module) -> list[nn.Module]:
        """The modules in the blocks that call transformers' attention interface: they have these two attributes."""
        return [
            module
            for block in self.blocks(model)
            for module in block.modules()
            if hasattr(module, "layer_idx") and hasattr(module, "is_causal")
        ]

    def linears(self, model: nn.Module) -> dict[str, nn.Module]:
        """Every linear layer of the blocks, by path, except the excluded ones."""
        found: dict[str, nn.Module] = {}
        for path, block in self._named_blocks(model):
            for inner, module in block.named_modules(prefix=path):
                if is_linear_layer(module) and inner.split(".")[-1] not in self._excluded_linears:
                    found[inner] = module
        return found

    def new_cache(self, model: nn.Module, count: int) -> Cache:
        """An empty key-value cache for `count` texts."""
        return KeyValueCache(count)

    def hidden_states(
        self,
        model: nn.Module,
        input_ids: Tensor,
        batch: PackedBatch,
        query_indices: Sequence[int] | None = None,
        *,
        checkpointing: bool = False,
    ) -> Tensor:
        """(tokens,) -> (tokens or query_indices, hidden_size); pads the tokens to a multiple for the forward."""
        tokens = input_ids.shape[0]
        batch.padding = padding_to_multiple(tokens)
        padded_ids = F.pad(input_ids, (0, batch.padding))
        hidden = self._forward(model, padded_ids, batch, query_indices, checkpointing)
        batch.advance()
        return hidden[:tokens]

    def _forward(
        self,
        model: nn.Module,
        input_ids: Tensor,
        batch: PackedBatch,
        query_indices: Sequence[int] | None,
        checkpointing: bool,
    ) -> Tensor:
        """(tokens + padding,) -> (tokens + padding or query_indices, hidden_size)."""
        if checkpointing:
            _enable_checkpointing(model)
        output = model.base_model(  # type: ignore[operator]
            input_ids=input_ids.unsqueeze(0),
            position_ids=batch.position_ids(input_ids.device),
            attention_mask=torch.empty(1, 1, 1, 1, device=input_ids.device),  # a placeholder, see `packed_attention`
            use_cache=False,
            packed_batch=batch,
        )
        hidden: Tensor = output.last_hidden_state[0]
        if query_indices is None:
            return hidden
        return hidden.index_select(0, torch.tensor(list(query_indices), device=hidden.device))

    def _named_blocks(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        names = set(getattr(model, "_no_split_modules", None) or ())
        within = _text_decoder_path(model)
        return [
            (path, m)
            for path, m in model.named_modules()
            if path.startswith(within) and names & {c.__name__ for c in type(m).__mro__}
        ]


def _text_decoder_path(model: nn.Module) -> str:
    """The path of the text decoder within a model, with a dot behind it; "" for a model of texts alone.

    A multimodal model has the blocks of its vision tower beside those of the decoder.
    """
    config: Any = model.config
    if config.get_text_config() is config:
        return ""
    decoder = model.get_decoder()  # type: ignore[operator]
    return next((f"{path}." for path, module in model.named_modules() if module is decoder and path), "")


def _enable_checkpointing(model: Any) -> None:
    """Once: enabling it again would register another hook on the embedding."""
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:  # the name in older versions of transformers 5
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


STOCK = StockArchitecture()
MIXTRAL = StockArchitecture(excluded_linears=("gate",))
