"""What a loaded model offers to methods, readouts and generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

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

    def decoder_linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        ...

    def prepack_frozen(self, packed: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        """Lay frozen weights out for this machine's products, once all is attached; how many.

        `packed` None: if there is memory to spare, of the machine's `memory_bytes`.
        """
        ...

    def hidden_states(
        self, input_ids: torch.Tensor, packed_batch: Any, places: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The last hidden states of unpadded texts laid end to end: (tokens,) -> (tokens or places, hidden_size).

        `places`: the tokens whose states are wanted, ascending; what only others need is not computed.
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
