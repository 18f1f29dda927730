"""The model calls that a prompting strategy makes for a text, found by running it with a generator without a model.

The strategy and the tokenizer are those of the run, so prompts have the run's own tokens: instruction, demonstrations,
retrieved texts. Completions are as long as they can be: the longest valid answer under a grammar, else the call's
`max_new_tokens`. So a strategy needs to declare nothing, also one from outside.
"""

from __future__ import annotations

import itertools
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from semtune.approaches.recording import encode_prompt
from semtune.contracts import (
    NO_MAX_LENGTH,
    AnswerGrammar,
    Constraint,
    IndexingStrategy,
    Prompt,
    PromptParts,
    Strategy,
    Tokenizer,
)
from semtune.generation.loglikelihood import count_nodes
from semtune.generation.prefix_cache import PrefixCache, shared_beginnings
from semtune.records import Example

Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class PromptCall:
    """One call of the generator: prompts that are continued, or behind which completions are scored."""

    prompts: Sequence[Ids]
    new_tokens: int = 0
    """Tokens of the longest completion of each prompt; 0: completions are scored."""
    free: bool = True
    """Whether completions are text that usually reaches `new_tokens`; False: answers, most of which are shorter."""
    continuations: Sequence[Ids] = ()
    """In place of what the model would generate behind each prompt."""
    completions: Sequence[Ids] = ()
    """Scored behind every prompt."""


@dataclass(frozen=True, slots=True)
class _Grammar:
    """In place of a constraint: the grammar itself, of which no automaton is needed here."""

    grammar: AnswerGrammar

    def start(self) -> Any:
        raise NotImplementedError

    def allowed(self, state: Any) -> Sequence[int]:
        raise NotImplementedError

    def advance(self, state: Any, token: int) -> Any:
        raise NotImplementedError


class CallNoter:
    """Notes the calls of one example; implements `contracts.StrategyGenerator` without a model."""

    def __init__(self, tokenizer: Tokenizer, example_id: str = "", hidden_size: int = 1) -> None:
        self._tokenizer, self._id, self._hidden_size = tokenizer, example_id, hidden_size
        self.calls: list[PromptCall] = []
        self.embeds = False
        """Whether embeddings were asked for."""

    def encode(self, parts: PromptParts, max_length: int) -> tuple[int, ...]:
        """See `contracts.StrategyGenerator`."""
        return encode_prompt(self._tokenizer, parts, max_length, self._id)

    def generate(
        self, prompts: Sequence[str | Ids], max_new_tokens: int, constraint: Constraint | None = None
    ) -> list[str]:
        """The longest answers of the constraint's grammar, or words."""
        if constraint is None:
            return self._continued(prompts, max_new_tokens, [_words(max_new_tokens, 0)] * len(prompts))
        answer = self._longest_answer(constraint)
        tokens = min(max_new_tokens, len(self._ids(answer)) + 1)
        return self._continued(prompts, tokens, [answer] * len(prompts), free=False)

    def sample(
        self,
        prompts: Sequence[str | Ids],
        max_new_tokens: int,
        *,
        temperature: float,
        seeds: Sequence[int],
        stop: str | None = None,
    ) -> list[str]:
        """Words that differ from prompt to prompt."""
        return self._continued(prompts, max_new_tokens, [_words(max_new_tokens, i) for i in range(len(prompts))])

    def loglikelihood(
        self, prompts: Sequence[str | Ids], completions: Sequence[str | Ids], *, end: bool = True
    ) -> torch.Tensor:
        """The same for all."""
        ids = [[*self._ids(c), *([self._tokenizer.eos_id] if end and isinstance(c, str) else [])] for c in completions]
        self.calls.append(PromptCall([self._ids(p) for p in prompts], completions=ids))
        return torch.zeros(len(prompts), len(completions))

    def label_constraint(self, grammar: AnswerGrammar) -> Constraint:
        """What `generate` takes the longest answer from."""
        return _Grammar(grammar)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """A direction for each text, the same for the same text."""
        self.embeds = True
        seeds = [zlib.crc32(text.encode()) for text in texts]
        rows = [np.random.default_rng(seed).standard_normal(self._hidden_size, dtype=np.float32) for seed in seeds]
        return np.stack(rows) if rows else np.zeros((0, self._hidden_size), dtype=np.float32)

    def note(self, entry: Mapping[str, Any]) -> None:
        """Nothing: a plan has no transcript."""

    def _continued(
        self, prompts: Sequence[str | Ids], tokens: int, completions: list[str], *, free: bool = True
    ) -> list[str]:
        """Note a call and return its completions."""
        ids = [self._ids(prompt) for prompt in prompts]
        self.calls.append(PromptCall(ids, tokens, free, [self._ids(completion) for completion in completions]))
        return completions

    def _longest_answer(self, constraint: Constraint) -> str:
        assert isinstance(constraint, _Grammar), "constraints come from label_constraint"
        grammar = constraint.grammar
        listed = max(grammar.items, key=len) if grammar.single else grammar.separator.join(grammar.items)
        return grammar.start + max(listed, grammar.none, key=len) + grammar.end

    def _ids(self, text: str | Ids) -> Ids:
        return self.encode(PromptParts("", text, "", None), NO_MAX_LENGTH) if isinstance(text, str) else text


def _words(tokens: int, number: int) -> str:
    """About `tokens` tokens of text on one line, which `number` makes different."""
    return " word" * max(1, tokens - 2) + f" {number}"


def fit_without_model(strategy: Strategy, train: Sequence[Example], tokenizer: Tokenizer, hidden_size: int) -> bool:
    """Let the strategy read the training texts; whether it embeds them. Raises what its `fit` and `index` raise."""
    noter = CallNoter(tokenizer, hidden_size=hidden_size)
    strategy.fit(train)
    if isinstance(strategy, IndexingStrategy):
        strategy.index(noter)
    return noter.embeds


def calls_of(strategy: Strategy, example: Example, tokenizer: Tokenizer, hidden_size: int) -> list[PromptCall]:
    """The calls for one text, in order. Raises what the strategy's `run` raises."""
    noter = CallNoter(tokenizer, example.id, hidden_size)
    strategy.run(example, noter)
    return noter.calls


def answer_tokens(prompt: Prompt, examples: Sequence[Example], tokenizer: Tokenizer) -> tuple[float, int]:
    """Mean and most tokens of the gold answers, end-of-sequence included; 1 without labelled texts."""
    parts = [prompt.encode(e) for e in examples if e.target is not None]
    lengths = [
        len(encode_prompt(tokenizer, PromptParts("", p.completion or "", "", None), NO_MAX_LENGTH, "")) + 1
        for p in parts
    ]
    return (statistics.fmean(lengths), max(lengths)) if lengths else (1.0, 1)


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Tokens that a run computes for each of its texts, on average."""

    prompt: float
    """Of generation's prompts, behind what is kept already."""
    generated: float
    steps: float
    """Decoding steps one after the other: the prompts of a call are continued together."""
    scored: float
    """Of scoring: prompts behind what is kept, and the nodes of the completions' tree."""
    shared: int
    """Of what prompts begin alike with; not on average but once for all texts."""


def tokens_per_text(texts: Sequence[Sequence[PromptCall]], usual_answer_tokens: float) -> TextTokens:
    """The tokens of each text's calls, with beginnings kept as the engine keeps them.

    Args:
        texts: the calls of some texts, in order.
        usual_answer_tokens: of an answer under a grammar.
    """
    kept = PrefixCache(max_bytes=0)
    prompt = generated = steps = scored = 0.0
    shared = 0
    firsts = [calls[0].prompts[0] for calls in texts if calls and calls[0].prompts]
    for index, end in shared_beginnings(firsts, [kept.root] * len(firsts)):
        shared += end - kept.match(firsts[index]).tokens
        kept.insert(firsts[index][:end], _no_bytes)
    for calls in texts:
        for call in calls:
            new_tokens = call.new_tokens if call.free else min(call.new_tokens, usual_answer_tokens)
            steps += new_tokens
            for ids, continuation in itertools.zip_longest(call.prompts, call.continuations, fillvalue=()):
                pending = len(ids) - kept.match(ids).tokens
                kept.insert([*ids, *continuation], _no_bytes)
                if call.completions:
                    scored += pending + count_nodes(call.completions)
                else:
                    prompt += pending
                    generated += new_tokens
    count = max(1, len(texts))
    return TextTokens(prompt / count, generated / count, steps / count, scored / count, shared)


@dataclass(frozen=True, slots=True)
class _NoBytes:
    """A segment of a prefix cache that holds nothing: its tokens alone are of interest."""

    tokens: int
    nbytes: int = 0

    def split(self, at: int) -> tuple[_NoBytes, _NoBytes]:
        return _NoBytes(at), _NoBytes(self.tokens - at)


def _no_bytes(first: int, last: int) -> _NoBytes:
    return _NoBytes(last - first)
