"""Targets as text: next-token prediction in training, greedy decoding at inference, as in the original experiment.

Scores come from what the model really generates, never from teacher-forced tokens. A completion that does not parse is
counted, and scored with whatever could be read from it; it is never dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semtune.contracts import NO_MAX_LENGTH, Constraint, LabelCheck, ReadoutSettings, TokenizedExample
from semtune.generation.greedy import greedy
from semtune.generation.prompt_lookup import PromptLookup
from semtune.readouts.base import BaseReadout
from semtune.readouts.batching import label_completions, prompt_ids
from semtune.readouts.read_back import check_reads_back
from semtune.records import Example, Prediction, TargetKind, option
from semtune.records.options import MOST_TOKENS
from semtune.records.targets import LABEL_KINDS


class NextTokenLoss(BaseReadout):
    """Training by cross-entropy of the next token over the completion, or over prompt and completion."""

    @dataclass(frozen=True, slots=True)
    class Settings(ReadoutSettings):
        """Options of readouts that train on text."""

        train_on_prompt: bool = option(False, help="Sum the loss over the prompt's tokens too (the original recipe).")

    settings: Settings

    def encode(self, example: Example) -> TokenizedExample:
        """Prompt, completion and end-of-sequence as token ids."""
        return self.loaded.tokenizer.encode(
            example, self.prompt.encode(example), self.settings.max_length, completion=True
        )

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """Number of predicted tokens: completion and end-of-sequence; with `train_on_prompt` all but the first."""
        return len(tokenized) - self._first_target(tokenized)

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        """Summed cross-entropy of the next token at the target positions (scalar fp32), and their number.

        The LM head runs at these positions only. The last token of each text is a target and never an input.
        """
        input_ids, packed = self.loaded.pack([e.ids[:-1] for e in batch])
        query_indices: list[int] = []
        targets: list[int] = []
        offset = 0
        for e in batch:
            first = self._first_target(e)
            query_indices += range(offset + first - 1, offset + len(e) - 1)
            targets += e.ids[first:]
            offset += len(e) - 1
        hidden = self.loaded.hidden_states(input_ids, packed, query_indices)  # (num_targets, hidden_size)
        return self.loaded.next_token_loss(hidden, torch.tensor(targets, device=self.loaded.device)), len(targets)

    def _first_target(self, tokenized: TokenizedExample) -> int:
        """Index of the first token that is predicted."""
        return 1 if self.settings.train_on_prompt else max(tokenized.prompt_length, 1)


class Generate(NextTokenLoss):
    """Greedy decoding; the prompt parses the target from the completion. Any kind of target."""

    name = "generate"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"label_set", "single_label", "spans", "text"})
    label_check: ClassVar[LabelCheck | None] = staticmethod(check_reads_back)

    @dataclass(frozen=True, slots=True)
    class Settings(NextTokenLoss.Settings):
        """Options of `generate`."""

        max_new_tokens: int = option(64, unit="tokens", at_least=1, at_most=MOST_TOKENS, help="Longest completion.")

    settings: Settings

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens of a completion."""
        return self.settings.max_new_tokens

    def prepare(self, train: Sequence[Example]) -> None:
        """Check that labels survive the tokenizer, and count completions that are too long to be generated whole.

        Raises OptionError.
        """
        check_reads_back(self.name, self.loaded.tokenizer, self.prompt, self.space)
        lengths = [self._completion_length(example) for example in train]
        limit = self.max_new_tokens
        cut = sum(length > limit for length in lengths)
        if cut:
            self.notes = (
                f"{cut} of {len(train)} training texts have a completion of more than max_new_tokens = {limit} tokens "
                f"(the longest {max(lengths)}), which cannot be generated whole",
            )

    def _completion_length(self, example: Example) -> int:
        """Tokens of an example's completion, end-of-sequence included."""
        parts = dataclasses.replace(self.prompt.encode(example), prefix="", text="", suffix="")
        tokenized = self.loaded.tokenizer.encode(example, parts, NO_MAX_LENGTH, completion=True)
        return len(tokenized) - tokenized.prompt_length

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Decode greedily, `predict_batch_size` texts at once; predictions in the order of `examples`."""
        prompts = prompt_ids(self.loaded, self.prompt, examples, self.settings.max_length)
        completions = greedy(
            self.loaded,
            prompts,
            self.max_new_tokens,
            self._constraint(),
            batch_size=self.settings.predict_batch_size,
            prompt_lookup=PromptLookup(self.loaded.tokenizer.eos_id, self._likely_completions()),
            progress=progress,
        )
        predictions = []
        for example, ids in zip(examples, completions, strict=True):
            text = self.loaded.tokenizer.decode(ids)
            parsed = self.prompt.parse(text)
            output = self.space.empty() if parsed.target is None else parsed.target
            predictions.append(Prediction(example.id, output, parsed=parsed.ok, raw=text))
        return predictions

    def _likely_completions(self) -> list[list[int]]:
        """Each label as a completion (token ids), for prompt lookup to draft from; [] where targets are no labels."""
        if self.space.kind not in LABEL_KINDS:
            return []
        return label_completions(
            self.loaded.tokenizer, self.prompt, self.space.kind, [(label,) for label in self.space.labels]
        )

    def _constraint(self) -> Constraint | None:
        """What restricts the tokens; None: every token is allowed. Subclasses override it."""
        return None
