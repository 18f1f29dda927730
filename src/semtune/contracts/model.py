"""The contracts of a loaded model, its tokenizer and its stream of weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from semtune.contracts.architecture import Batch, Cache
from semtune.contracts.identity import ModelIdentity
from semtune.contracts.prompt import PromptParts
from semtune.records import Example, Target

if TYPE_CHECKING:
    import torch
    from torch import nn


NO_MAX_LENGTH = 2**31
"""A `max_length` that cuts no text."""


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One example as token ids. `ids[prompt_length:]` is the completion, its end-of-sequence token included."""

    id: str
    ids: tuple[int, ...]
    prompt_length: int
    target: Target | None
    """None: an unlabelled example."""

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer(Protocol):
    """What training and decoding need of a tokenizer."""

    vocab_size: int
    cut_tokens: dict[str, int]
    """Example id -> tokens of its text that `encode` left out, for each example that was cut; the caller clears it."""
    folded: bool
    """Whether the tokenizer is borrowed, its ids taken modulo the vocabulary: decoded text then means nothing."""

    @property
    def eos_id(self) -> int:
        """The end-of-sequence token. Raises ModelError where the model has none."""
        ...

    def encode(self, example: Example, parts: PromptParts, max_length: int, *, completion: bool) -> TokenizedExample:
        """Token ids of the prompt, and of completion + end-of-sequence where `completion`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out."""
        ...

    def token_bytes(self) -> list[bytes | None]:
        """For each token id, the bytes it stands for within a text; None for control tokens. (vocab_size,)"""
        ...


class LoadedModel(Protocol):
    """A causal language model in memory, and its tokenizer. Methods and readouts change `model` in place."""

    model: nn.Module
    """A causal language model of transformers."""
    tokenizer: Tokenizer
    name: str
    compute_dtype: torch.dtype
    device: torch.device
    hidden_size: int
    notes: tuple[str, ...]
    identity: ModelIdentity
    """Which files the model was read from."""
    activation_checkpointing: bool
    """Whether blocks store only their input for the backward, which recomputes the rest."""

    @property
    def tree_attention(self) -> bool:
        """Whether `pack_tree` works."""
        ...

    def blocks(self) -> list[nn.Module]:
        """The decoder's blocks in order; each is called as a module in every forward."""
        ...

    def attentions(self) -> list[nn.Module]:
        """The blocks' attention modules in order.

        Each applies a learned prefix: where `attention.prefix` is a module, calling it without arguments returns
        (keys, values), each (kv_heads, prefix_length, head_dim). Every query attends to them; they get no rotary
        embedding, shift no positions, and are not stored in the cache.
        """
        ...

    def linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        ...

    def original_weights(self, paths: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """(path, W) of the linear layers at `paths`, in any order, as in the model's files: before any quantisation.

        The files are read again, one tensor at a time; W (out, in) is on `device`, in the files' dtype. Raises
        ModelError where they cannot be read or lack a layer.
        """
        ...

    def prepack_frozen(self, prepack: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        """Convert frozen weights to the CPU's prepacked layout, after adapters are attached; the number of layers.

        Args:
            prepack: None: where the second copy is small beside `memory_bytes`, or no backward follows.
            memory_bytes: memory of the machine.
            backward: whether the backward needs the weights too.
        """
        ...

    def new_cache(self, count: int) -> Cache:
        """An empty cache for `count` texts."""
        ...

    def pack(self, texts: Sequence[Sequence[int]], cache: Cache | None = None) -> tuple[torch.Tensor, Batch]:
        """Token ids of all texts, concatenated, int64 (tokens,), and the packed batch with their lengths.

        With a cache, `texts` are the new tokens of the texts in it.
        """
        ...

    def pack_groups(self, groups: Sequence[tuple[Sequence[Sequence[int]], Cache | None]]) -> tuple[torch.Tensor, Batch]:
        """As `pack`, for several (texts, cache): decoding requests share a forward with requests in prefill."""
        ...

    def pack_tree(
        self, prefixes: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, Batch, list[tuple[int, ...]]]:
        """Pack every prefix with all continuations behind it; equal beginnings are shared as a tree (tree attention).

        Returns:
            The token ids; the batch, in which a text is a prefix and the nodes of the tree; and for each continuation
            the node of each of its tokens, counted from 0 within the tree.
        """
        ...

    def hidden_states(
        self, input_ids: torch.Tensor, batch: Any, query_indices: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The last hidden states of a packed batch: (tokens,) -> (tokens or query_indices, hidden_size).

        query_indices: ascending indices of the tokens whose states are needed; the last block computes only those.
        """
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The LM head: (rows, hidden_size) -> (rows, vocab_size)."""
        ...

    def next_token_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """LM head and summed cross-entropy: (rows, hidden_size) and int64 (rows,) -> scalar, fp32 at least."""
        ...


class WeightStream(Protocol):
    """Named tensors one at a time, so that a model is never resident twice."""

    def names(self) -> list[str]: ...

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]: ...
