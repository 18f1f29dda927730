"""Text in, text out: `contracts.Generator` over a loaded model, for prompting strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from semtune.contracts import NO_MAX_LENGTH, AnswerGrammar, Constraint, LoadedModel, PromptParts, TokenizedExample
from semtune.generation.constraints import check_spellable, label_constraint
from semtune.generation.embedding import mean_hidden_states
from semtune.generation.engine import Call, Engine
from semtune.generation.greedy import greedy
from semtune.generation.loglikelihood import loglikelihood
from semtune.generation.sampling import sample
from semtune.records import Example

Ids = Sequence[int]


class Generator:
    """Completions, greedy or sampled, and log-likelihoods. A prompt or completion is a text or its token ids.

    Args:
        batch_size: as in `greedy` and `loglikelihood`; None: all prompts at once.
    """

    def __init__(self, loaded: LoadedModel, *, batch_size: int | None = None) -> None:
        self._loaded, self._batch_size = loaded, batch_size

    def generate(
        self, prompts: Sequence[str | Sequence[int]], max_new_tokens: int, constraint: Constraint | None = None
    ) -> list[str]:
        """The greedy completion of each prompt, special tokens left out; at most `max_new_tokens` tokens each."""
        ids = [self._prompt_ids(prompt) for prompt in prompts]
        generated = self._greedy(ids, max_new_tokens, constraint)
        return [self._loaded.tokenizer.decode(tokens) for tokens in generated]

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        max_new_tokens: int,
        *,
        temperature: float,
        seeds: Sequence[int],
        stop: str | None = None,
    ) -> list[str]:
        """A random completion of each prompt, special tokens left out; see `sampling.sample`."""
        ids = [self._prompt_ids(prompt) for prompt in prompts]
        generated = self._sample(ids, max_new_tokens, temperature, seeds, stop)
        return [self._loaded.tokenizer.decode(tokens) for tokens in generated]

    def loglikelihood(
        self,
        prompts: Sequence[str | Sequence[int]],
        completions: Sequence[str | Sequence[int]],
        *,
        end: bool = True,
    ) -> Tensor:
        """log p(completion | prompt) in nats, (prompts, completions).

        A completion given as text ends with end-of-sequence where `end`; token ids are scored as they are.
        """
        prompt_ids = [self._prompt_ids(prompt) for prompt in prompts]
        completion_ids = [self._completion_ids(completion, end) for completion in completions]
        return self._loglikelihood(prompt_ids, completion_ids)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The mean of the last hidden states over each text's tokens, (texts, hidden_size)."""
        return mean_hidden_states(self._loaded, [self._prompt_ids(text) for text in texts]).numpy()

    def label_constraint(self, grammar: AnswerGrammar) -> Constraint:
        """The constraint that exactly the answers of `grammar` satisfy. Raises ModelError where one cannot be spelt."""
        check_spellable(self._loaded.tokenizer, grammar, name="constrained decoding")
        return label_constraint(self._loaded.tokenizer, grammar)

    def _greedy(self, ids: Sequence[Ids], max_new_tokens: int, constraint: Constraint | None) -> Sequence[Ids]:
        """The generated token ids behind each prompt."""
        return greedy(self._loaded, ids, max_new_tokens, constraint, batch_size=self._batch_size)

    def _sample(
        self, ids: Sequence[Ids], max_new_tokens: int, temperature: float, seeds: Sequence[int], stop: str | None
    ) -> Sequence[Ids]:
        """The generated token ids behind each prompt."""
        return sample(self._loaded, ids, max_new_tokens, temperature=temperature, seeds=seeds, stop=stop)

    def _loglikelihood(self, prompts: Sequence[Ids], completions: Sequence[Ids]) -> Tensor:
        """As `loglikelihood`, for token ids."""
        return loglikelihood(self._loaded, prompts, completions, batch_size=self._batch_size)

    def _prompt_ids(self, prompt: str | Sequence[int]) -> Sequence[int]:
        return self._tokenize(prompt, None).ids if isinstance(prompt, str) else prompt

    def _completion_ids(self, completion: str | Sequence[int], end: bool) -> Sequence[int]:
        if not isinstance(completion, str):
            return completion
        tokenized = self._tokenize("", completion)
        ids = tokenized.ids[tokenized.prompt_length :]
        return ids if end else ids[:-1]

    def _tokenize(self, text: str, completion: str | None) -> TokenizedExample:
        parts = PromptParts(prefix="", text=text, suffix="", completion=completion)
        example = Example("", text, None)
        return self._loaded.tokenizer.encode(example, parts, NO_MAX_LENGTH, completion=completion is not None)


class QueuedGenerator(Generator):
    """The generator of one text among many: its calls are run by an engine, together with those of other texts.

    Args:
        wait: returns when the call is done; until then other texts are worked on.
    """

    def __init__(self, engine: Engine, wait: Callable[[Call], None]) -> None:
        super().__init__(engine.loaded)
        self._engine, self._wait = engine, wait
        self.seconds = 0.0
        """This text's share of the engine's seconds, over all its calls."""
        self._calls: list[Call] = []

    def label_constraint(self, grammar: AnswerGrammar) -> Constraint:
        """As `Generator.label_constraint`; drafts of answers are looked up among the labels to begin with."""
        constraint = super().label_constraint(grammar)
        for item in (*grammar.items, *(() if grammar.single else (grammar.none,))):
            self._engine.prompt_lookup(constraint).learn(self._completion_ids(grammar.start + item, True))
        return constraint

    def close(self) -> None:
        """Say that the text is done, so that nothing is kept for it any longer."""
        self._engine.forget(self._calls)

    def _greedy(self, ids: Sequence[Ids], max_new_tokens: int, constraint: Constraint | None) -> Sequence[Ids]:
        call = self._engine.generation(ids, max_new_tokens, constraint)
        self._finish(call)
        return [request.generated_ids for request in call.requests]

    def _sample(
        self, ids: Sequence[Ids], max_new_tokens: int, temperature: float, seeds: Sequence[int], stop: str | None
    ) -> Sequence[Ids]:
        call = self._engine.sampling(ids, max_new_tokens, temperature, seeds, stop)
        self._finish(call)
        return [request.generated_ids for request in call.requests]

    def _loglikelihood(self, prompts: Sequence[Ids], completions: Sequence[Ids]) -> Tensor:
        call = self._engine.scoring(prompts, completions)
        self._finish(call)
        if call.values is None:
            raise RuntimeError("a call was taken for done that is not")
        return call.values

    def _finish(self, call: Call) -> None:
        self._calls.append(call)
        if not call.done:  # a call without prompts is
            self._wait(call)
        self.seconds += call.seconds
