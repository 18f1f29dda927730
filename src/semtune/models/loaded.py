"""Implements `contracts.LoadedModel` for models of transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from semtune.contracts import Architecture, Cache, ModelIdentity, Tokenizer
from semtune.errors import ModelError
from semtune.models.architectures import architecture_of
from semtune.models.class_logits import class_logits, class_loss, is_plain
from semtune.models.positions import check_text
from semtune.models.prepacking import prepack_frozen
from semtune.nn.linear import as_linear_layer, is_linear_layer
from semtune.nn.linear_cross_entropy import fused_linear_cross_entropy
from semtune.nn.packed_batch import PackedBatch
from semtune.nn.tree import PackedTree, TokenTree


@dataclass(slots=True)
class TransformersModel:
    """A model of transformers after `architectures.install`. Methods and readouts change `model` in place."""

    model: nn.Module
    tokenizer: Tokenizer
    name: str
    compute_dtype: torch.dtype
    device: torch.device
    hidden_size: int
    notes: tuple[str, ...] = ()
    identity: ModelIdentity = field(default_factory=ModelIdentity)
    """Which files the model was read from."""
    activation_checkpointing: bool = False
    """Whether a block stores only its input for the backward: less memory, about a third more computation."""
    reread: Callable[[], Iterator[tuple[str, Tensor]]] | None = None
    """Reads the model's files again, as pairs of the model's own name and the stored tensor; None: there are none."""
    prepacked_head: nn.Module | None = None
    """The output embedding, prepacked; for prediction only."""
    plain_head: bool | None = None
    """Whether the LM head is the output embedding and nothing else (`class_logits.is_plain`); None: not known yet."""

    @property
    def architecture(self) -> Architecture:
        """The registered architecture of this model's type."""
        return architecture_of(self.model)

    @property
    def tree_attention(self) -> bool:
        """Whether `pack_tree` works."""
        return self.architecture.tree_attention

    def blocks(self) -> list[nn.Module]:
        """The decoder's blocks in order; each is called as a module in every forward."""
        return self.architecture.blocks(self.model)

    def attentions(self) -> list[nn.Module]:
        """The blocks' attention modules in order; each applies a learned prefix, see `contracts.LoadedModel`."""
        return self.architecture.attentions(self.model)

    def linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        return self.architecture.linears(self.model)

    def original_weights(self, paths: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """See `contracts.LoadedModel`."""
        missing = {f"{path}.weight": path for path in paths}
        for name, tensor in self.reread() if self.reread is not None else ():
            if (path := missing.pop(name, None)) is not None:
                yield path, tensor.to(self.device)
        if missing:
            raise ModelError(
                f"The weights of {len(missing)} layers of {self.name} cannot be read again from its files, first "
                f"{next(iter(missing))}; leave start out."
            )

    def prepack_frozen(self, prepack: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        """Prepack frozen weights for this CPU, after adapters are attached; see `models.prepacking`."""
        count = prepack_frozen(self.model, prepack, backward=backward, memory_bytes=memory_bytes)
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        if count and not backward and is_linear_layer(head) and self._has_plain_head():
            self.prepacked_head = as_linear_layer(head).prepack(backward=False)
        return count

    def new_cache(self, count: int) -> Cache:
        """An empty cache for `count` texts."""
        return self.architecture.new_cache(self.model, count)

    def pack(self, texts: Sequence[Sequence[int]], cache: Cache | None = None) -> tuple[Tensor, PackedBatch]:
        """Token ids of all texts, concatenated, int64 (tokens,), and the packed batch with their lengths."""
        return self.pack_groups([(texts, cache)])

    def pack_groups(self, groups: Sequence[tuple[Sequence[Sequence[int]], Cache | None]]) -> tuple[Tensor, PackedBatch]:
        """As `pack`, for several (texts, cache). Raises OptionError for a text that exceeds the model's positions."""
        ids = [token for texts, _ in groups for text in texts for token in text]
        parts = [PackedBatch(tuple(len(text) for text in texts), cache) for texts, cache in groups]
        ends = (a + b for part in parts for a, b in zip(part.cache_seqlens, part.lengths, strict=True))
        check_text(self.model.config, max(ends, default=0))
        return self._ids(ids), PackedBatch.side_by_side(parts)

    def pack_tree(
        self, prefixes: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> tuple[Tensor, PackedBatch, list[tuple[int, ...]]]:
        """Pack every prefix with all continuations as a tree; ids, batch, and the nodes of each continuation."""
        check_text(self.model.config, max(map(len, prefixes), default=0) + max(map(len, continuations), default=0))
        tree = TokenTree.of(continuations)
        ids = [token for prefix in prefixes for token in (*prefix, *tree.tokens)]
        return self._ids(ids), PackedTree([len(prefix) for prefix in prefixes], tree), list(tree.paths)

    def hidden_states(
        self, input_ids: Tensor, batch: PackedBatch, query_indices: Sequence[int] | None = None
    ) -> Tensor:
        """The last hidden states of a packed batch: (tokens,) -> (tokens or query_indices, hidden_size).

        query_indices: ascending indices of the tokens whose states are needed; the last block computes only those.
        """
        return self.architecture.hidden_states(
            self.model, input_ids, batch, query_indices, checkpointing=self.activation_checkpointing
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """The LM head with all that the model's class does around it: (rows, hidden_size) -> (rows, vocab_size)."""
        if not self._has_plain_head():
            return class_logits(self.model, hidden)
        head = self.prepacked_head or self.model.get_output_embeddings()  # type: ignore[operator]
        logits: Tensor = head(hidden)
        return logits

    def next_token_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """LM head and summed cross-entropy: (rows, hidden_size) and int64 (rows,) -> scalar, fp32 at least."""
        if not self._has_plain_head():
            return class_loss(self.model, hidden, targets, int(self.model.config.get_text_config().vocab_size))  # type: ignore[operator, union-attr]
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        return fused_linear_cross_entropy(hidden, head.weight, head.bias, targets)

    def _has_plain_head(self) -> bool:
        if self.plain_head is None:
            self.plain_head = is_plain(self.model)
        return self.plain_head

    def _ids(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.device)
