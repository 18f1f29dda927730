"""The contracts of generation: constraints, and the generator that prompting strategies call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from semtune.contracts.prompt import AnswerGrammar, PromptParts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


class Constraint(Protocol):
    """The language that constrained decoding stays inside. A state stands for what one text has generated so far."""

    def start(self) -> Any:
        """The state of a text without generated tokens."""
        ...

    def allowed(self, state: Any) -> Sequence[int]:
        """Token ids that may come next; never empty."""
        ...

    def advance(self, state: Any, token: int) -> Any:
        """The state after `token`, an allowed one other than end-of-sequence."""
        ...


class Generator(Protocol):
    """Text out of a loaded model, for prompting strategies. A prompt or completion is a text or its token ids."""

    def generate(
        self, prompts: Sequence[str | Sequence[int]], max_new_tokens: int, constraint: Constraint | None = None
    ) -> list[str]:
        """The greedy completion of each prompt, special tokens left out; at most `max_new_tokens` tokens each."""
        ...

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        max_new_tokens: int,
        *,
        temperature: float,
        seeds: Sequence[int],
        stop: str | None = None,
    ) -> list[str]:
        """A random completion of each prompt, special tokens left out; at most `max_new_tokens` tokens each.

        Args:
            temperature: of the softmax over the vocabulary; 0: the greedy completion.
            seeds: one per prompt, below 2^63: the same prompt and seed give the same completion.
            stop: a completion ends once it contains this after something else than white space; None: nothing.
        """
        ...

    def loglikelihood(
        self,
        prompts: Sequence[str | Sequence[int]],
        completions: Sequence[str | Sequence[int]],
        *,
        end: bool = True,
    ) -> torch.Tensor:
        """log p(completion | prompt) in nats, (prompts, completions). A completion given as text ends with
        end-of-sequence where `end`; token ids are taken as they are."""
        ...

    def label_constraint(self, grammar: AnswerGrammar) -> Constraint:
        """The constraint that only valid answers of `grammar` satisfy. Raises ModelError where it cannot be spelt."""
        ...


class StrategyGenerator(Generator, Protocol):
    """The generator that a strategy is handed: every call is noted in the example's transcript."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The mean of the model's last hidden states over each text's tokens, (texts, hidden_size).

        Not noted in the transcript: nothing is asked. Raises OptionError where the model shows no hidden states.
        """
        ...

    def note(self, entry: Mapping[str, Any]) -> None:
        """Add to the example's transcript what is no call of the model, such as the thoughts of a search; JSON."""
        ...

    def encode(self, parts: PromptParts, max_length: int) -> tuple[int, ...]:
        """Token ids of a prompt in at most `max_length` tokens; only `parts.text` is cut, at its end.

        Text is data: the name of a special token in it is spelt out, never the token. Raises DataError.
        """
        ...
