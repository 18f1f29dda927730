"""What a prompted run records of an example's model calls, for its transcript."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from semtune.contracts import (
    NO_MAX_LENGTH,
    AnswerGrammar,
    Constraint,
    LoadedModel,
    PromptParts,
    Tokenizer,
)
from semtune.errors import DataError, PromptTooLongError
from semtune.generation.generator import Generator
from semtune.measure.clock import synchronised_seconds
from semtune.records import Example


def encode_prompt(tokenizer: Tokenizer, parts: PromptParts, max_length: int, example_id: str) -> tuple[int, ...]:
    """Token ids of a prompt whose text is cut to fit `max_length`. Raises DataError where the rest exceeds it."""
    unanswered = dataclasses.replace(parts, completion=None)
    example = Example(example_id, parts.text, None)
    try:
        return tokenizer.encode(example, unanswered, max_length, completion=False).ids
    except PromptTooLongError as error:
        raise DataError(
            f'The prompt for example "{example_id}" has more than {max_length} tokens even without its text; '
            "raise the strategy's limit (its options: semtune list strategies --options)."
        ) from error


class RecordingGenerator:
    """Records each completion with its prompt, tokens and seconds; implements `contracts.StrategyGenerator`."""

    def __init__(
        self,
        loaded: LoadedModel,
        generator: Generator,
        device: str,
        *,
        clock: Callable[[], float] | None = None,
        constraints: dict[AnswerGrammar, Constraint] | None = None,
    ) -> None:
        """`clock`: the seconds that calls took so far; None: the time. `constraints`: those made for other examples."""
        self._loaded, self._generator = loaded, generator
        self._clock = clock or functools.partial(synchronised_seconds, device)
        self._constraints = {} if constraints is None else constraints
        self.calls: list[dict[str, Any]] = []
        """The calls for the present example, in order."""
        self.notes: list[dict[str, Any]] = []
        """What the strategy noted of the present example beside its calls."""
        self.example_id = ""
        """The present example's id."""
        self.max_length = 0
        """The limit of the last prompt, in tokens."""

    def encode(self, parts: PromptParts, max_length: int) -> tuple[int, ...]:
        """Token ids of a prompt whose text is cut to fit `max_length`. Raises DataError where the rest exceeds it."""
        if max_length != NO_MAX_LENGTH:
            self.max_length = max_length
        return encode_prompt(self._loaded.tokenizer, parts, max_length, self.example_id)

    def generate(
        self, prompts: Sequence[str | Sequence[int]], max_new_tokens: int, constraint: Constraint | None = None
    ) -> list[str]:
        """As `contracts.Generator.generate`; the seconds of a call are shared evenly among its prompts."""
        started = self._clock()
        completions = self._generator.generate(prompts, max_new_tokens, constraint)
        self._record(prompts, completions, started, [{} for _ in prompts])
        return completions

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        max_new_tokens: int,
        *,
        temperature: float,
        seeds: Sequence[int],
        stop: str | None = None,
    ) -> list[str]:
        """As `contracts.Generator.sample`; each call is recorded with its temperature and seed."""
        started = self._clock()
        completions = self._generator.sample(prompts, max_new_tokens, temperature=temperature, seeds=seeds, stop=stop)
        self._record(prompts, completions, started, [{"temperature": temperature, "seed": seed} for seed in seeds])
        return completions

    def note(self, entry: Mapping[str, Any]) -> None:
        """As `contracts.StrategyGenerator.note`."""
        self.notes.append(dict(entry))

    def loglikelihood(
        self,
        prompts: Sequence[str | Sequence[int]],
        completions: Sequence[str | Sequence[int]],
        *,
        end: bool = True,
    ) -> torch.Tensor:
        """As `contracts.Generator.loglikelihood`; each prompt is recorded with its completions and their values."""
        started = self._clock()
        values = self._generator.loglikelihood(prompts, completions, end=end)
        seconds = (self._clock() - started) / max(len(prompts), 1)
        given = [self._ids(completion) for completion in completions]
        for prompt, row in zip(prompts, values.tolist(), strict=True):
            ids = self._ids(prompt)
            self.calls.append(
                {
                    "prompt": self._loaded.tokenizer.decode(ids),
                    "completions": [self._loaded.tokenizer.decode(c) for c in given],
                    "loglikelihoods": row,
                    "tokens": [len(ids), sum(map(len, given))],
                    "seconds": round(seconds, 6),
                }
            )
        return values

    def label_constraint(self, grammar: AnswerGrammar) -> Constraint:
        """As `contracts.Generator.label_constraint`; made once per grammar."""
        if grammar not in self._constraints:
            self._constraints[grammar] = self._generator.label_constraint(grammar)
        return self._constraints[grammar]

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """As `contracts.StrategyGenerator.embed`."""
        return self._generator.embed(texts)

    def _record(
        self,
        prompts: Sequence[str | Sequence[int]],
        completions: Sequence[str],
        started: float,
        how: Sequence[Mapping[str, Any]],
    ) -> None:
        """Add one call per prompt, with its share of the seconds since `started` and its own options in `how`."""
        seconds = (self._clock() - started) / max(len(prompts), 1)
        for prompt, completion, options in zip(prompts, completions, how, strict=True):
            ids = self._ids(prompt)
            self.calls.append(
                {
                    "prompt": self._loaded.tokenizer.decode(ids),
                    "completion": completion,
                    "tokens": [len(ids), len(self._ids(completion)) if completion else 0],
                    "seconds": round(seconds, 6),
                    **options,
                }
            )

    def _ids(self, text: str | Sequence[int]) -> Sequence[int]:
        if not isinstance(text, str):
            return text
        return self.encode(PromptParts("", text, "", None), NO_MAX_LENGTH)
