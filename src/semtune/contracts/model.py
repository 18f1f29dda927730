"""What a loaded model offers to methods, readouts and generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from semtune.contracts.architecture import Batch, Cache
from semtune.contracts.prompt import PromptParts
from semtune.records import Example, Target

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One example as token ids. `ids[prompt_length:]` is the completion, its end-of-sequence token included."""

    id: str
    ids: tuple[int, ...]
    prompt_length: int
    target: Target | None
    """None: the example has none."""

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer(Protocol):
    """A tokenizer with what training and decoding need of it."""

    eos_id: int
    vocab_size: int

    def encode(self, example: Example, parts: PromptParts, max_length: int, *, completion: bool) -> TokenizedExample:
        """Token ids of the prompt, and of completion + end-of-sequence where `completion`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out."""
        ...

    def token_bytes(self) -> list[bytes | None]:
        """The bytes each token id stands for, as in running text; None for special tokens. (vocab_size,)"""
        ...


class LoadedModel(Protocol):
    """A loaded model with what belongs to it. Methods and readouts change `model` in place."""

    model: nn.Module
    """A causal language model of transformers."""
    tokenizer: Tokenizer
    name: str
    compute_dtype: torch.dtype
    device: torch.device
    hidden_size: int
    notes: tuple[str, ...]
    activation_checkpointing: bool
    """Whether blocks keep only their input for the backward."""

    @property
    def tree_attention(self) -> bool:
        """Whether `pack_tree` works."""
        ...

    def blocks(self) -> list[nn.Module]:
        """The decoder's blocks in order; each is called as a module in every forward."""
        ...

    def attentions(self) -> list[nn.Module]:
        """The blocks' attention modules in order.

        Each honours a learned prefix: where `attention.prefix` is a module, calling it without arguments gives
        (keys, values), each (kv_heads, prefix_length, head_dim). Every query attends to them, keys are not rotated,
        positions stay as they are, and the cache does not hold them.
        """
        ...

    def linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        ...

    def prepack_frozen(self, packed: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        """Lay frozen weights out for this machine's products, once all is attached; how many.

        `packed` None: if there is memory to spare, of the machine's `memory_bytes`.
        """
        ...

    def new_cache(self, count: int) -> Cache:
        """An empty cache for `count` texts."""
        ...

    def pack(self, texts: Sequence[Sequence[int]], cache: Cache | None = None) -> tuple[torch.Tensor, Batch]:
        """Token ids of all texts in one row, int64 (tokens,), and the batch that says how they divide.

        With a cache, `texts` are the new tokens of the texts in it.
        """
        ...

    def pack_groups(self, groups: Sequence[tuple[Sequence[Sequence[int]], Cache | None]]) -> tuple[torch.Tensor, Batch]:
        """One row of several (texts, cache): decoding requests share a forward with requests in prefill."""
        ...

    def pack_tree(
        self, prefixes: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, Batch, list[tuple[int, ...]]]:
        """Every continuation behind every prefix, as a tree of tokens behind each prefix (tree attention).

        Returns:
            The token ids; the batch, in which a text is a prefix and the nodes of the tree; and for each continuation
            the node of each of its tokens, counted from 0 within the tree.
        """
        ...

    def hidden_states(
        self, input_ids: torch.Tensor, batch: Any, query_indices: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The last hidden states of a packed batch: (tokens,) -> (tokens or query_indices, hidden_size).

        `query_indices`: the tokens whose states are needed, ascending; what only others need is not computed.
        """
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The vocabulary product: (rows, hidden_size) -> (rows, vocab_size)."""
        ...

    def next_token_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Summed cross-entropy of the vocabulary product: (rows, hidden_size) and (rows,) -> scalar, fp32 at least."""
        ...


class WeightStream(Protocol):
    """Named tensors one at a time, so that a model is never resident twice."""

    def names(self) -> list[str]: ...

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]: ...
