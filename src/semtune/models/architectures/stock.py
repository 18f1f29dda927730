"""The default architecture: transformers' own forward over a packed batch, with semtune's attention function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.contracts import Cache
from semtune.errors import ModelError
from semtune.models.decoder import text_decoder
from semtune.models.packed_attention import PLACEHOLDER, install_attention
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.linear import PanelLinear, as_linear_layer, is_linear_layer
from semtune.nn.packed_batch import PackedBatch, padding_to_multiple

STATEFUL = "carries a state from token to token, which packed batches would mix between texts"
"""Why a recurrent model is refused, as the end of a sentence."""


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
        if is_stateful(model):
            kind = getattr(model.config, "model_type", type(model).__name__)
            raise ModelError(
                f'The architecture "{kind}" {STATEFUL}; choose a model without one, or register an architecture for '
                "it (see CONTRIBUTING.md)."
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
        """Every linear layer of the blocks, by path, except the excluded ones and a mixture's routers and gates."""
        found: dict[str, nn.Module] = {}
        experts = _expert_counts(model)
        for path, block in self._named_blocks(model):
            for inner, module in block.named_modules(prefix=path):
                if not is_linear_layer(module) or inner.split(".")[-1] in self._excluded_linears:
                    continue
                if _plain_forward(module) and not (experts and as_linear_layer(module).out_features in experts):
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
        output = text_decoder(model)(
            input_ids=input_ids.unsqueeze(0),
            position_ids=batch.position_ids(input_ids.device),
            attention_mask=torch.zeros(PLACEHOLDER, device=input_ids.device),
            use_cache=False,
            packed_batch=batch,
        )
        hidden: Tensor = output.last_hidden_state[0]
        if query_indices is None:
            return hidden
        return hidden.index_select(0, torch.tensor(list(query_indices), device=hidden.device))

    def _named_blocks(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        """The decoder's blocks by path: the classes that are never split, else the members of its list of layers."""
        decoder = text_decoder(model)
        prefix = next(path for path, module in model.named_modules() if module is decoder)
        inner = list(decoder.named_modules(prefix=prefix))
        names = set(getattr(model, "_no_split_modules", None) or ())
        named = [(path, m) for path, m in inner if names & {c.__name__ for c in type(m).__mro__}]
        if named:
            return named
        lists = [(path, m) for path, m in inner if isinstance(m, nn.ModuleList)]
        path, layers = max(lists, key=lambda item: len(item[1]), default=("", nn.ModuleList()))
        return [(f"{path}.{name}", block) for name, block in layers.named_children()]


def is_stateful(model: object) -> bool:
    """Whether transformers declares that a model, or its class, carries a recurrent state."""
    return bool(getattr(model, "_is_stateful", False))


def _plain_forward(module: nn.Module) -> bool:
    """Whether `module` computes y = W x + b and nothing more, unlike some subclasses of nn.Linear."""
    plain = (nn.Linear.forward, PanelLinear.forward)
    return not isinstance(module, nn.Linear) or type(module).forward in plain


def _expert_counts(model: nn.Module) -> set[int]:
    """Output sizes of a mixture's routers (its number of experts) and of the gate of a shared expert (1)."""
    config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    counts = {n for n in (getattr(config, name, None) for name in names) if isinstance(n, int) and n > 0}
    return counts | {1} if counts else set()


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
GEMMA3N = StockArchitecture(excluded_linears=("correction_coefs", "prediction_coefs", "modality_router"))
