"""Labels as text: next-token prediction in training, greedy decoding at inference, as in the original experiment.

Scores come from what the model really generates, never from teacher-forced tokens. A completion that does not parse is
counted, and scored with whatever labels could be read from it; it is never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from semtune.contracts import AnswerKind, Constraint, LoadedModel, Prompt, ReadoutSettings, TokenizedExample
from semtune.generation.greedy import greedy
from semtune.generation.prompt_lookup import PromptLookup
from semtune.readouts.batching import label_completions, prompt_ids
from semtune.records import Example, Prediction


class Generate:
    """Cross-entropy over the completion (or over all tokens, `loss_on: all`), and greedy decoding."""

    name = "generate"

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Prompt,
        labels: Sequence[str],
        answer: AnswerKind,
        settings: ReadoutSettings,
    ) -> None:
        self.loaded, self.prompt, self.labels, self.settings = loaded, prompt, tuple(labels), settings

    def prepare(self, train: Sequence[Example]) -> None:
        """Nothing to learn from the data before training."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """No parameters of its own: the vocabulary product is the model's."""
        return {}

    def learning_rate(self) -> float | None:
        """None: there is nothing to train here."""
        return None

    def encode(self, example: Example) -> TokenizedExample:
        """Prompt, completion and end-of-sequence as token ids."""
        return self.loaded.tokenizer.encode(
            example, self.prompt.encode(example), self.settings.max_length, completion=True
        )

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """Tokens that are predicted: the completion with its end-of-sequence, or all but the first."""
        return len(tokenized) - self._first_target(tokenized)

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        """Summed cross-entropy of the next token at the positions that count; scalar fp32, and their number.

        Nothing is worked out for other positions alone. The last token of each text is a target and never an input.
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

    def calibrate(self, dev: Sequence[Example]) -> list[Prediction]:
        """Nothing is chosen on dev beside the epoch: plain answers."""
        return self.answer(dev)

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Greedy decoding, `predict_batch_size` texts at once; predictions in the order of `examples`."""
        prompts = prompt_ids(self.loaded, self.prompt, examples, self.settings.max_length)
        single_labels = label_completions(self.loaded, self.prompt, [(label,) for label in self.labels])
        generated = greedy(
            self.loaded,
            prompts,
            self._most_tokens(),
            self._constraint(),
            batch_size=self.settings.predict_batch_size,
            prompt_lookup=PromptLookup(self.loaded.tokenizer.eos_id, single_labels),
            progress=progress,
        )
        predictions = []
        for example, ids in zip(examples, generated, strict=True):
            text = self.loaded.tokenizer.decode(ids)
            parsed = self.prompt.parse(text)
            predictions.append(Prediction(example.id, parsed.labels, parsed=parsed.ok, raw=text))
        return predictions

    def save(self, folder: Path) -> None:
        """Nothing to save."""

    def load(self, folder: Path) -> None:
        """Nothing to load."""

    def _most_tokens(self) -> int:
        return self.settings.max_new_tokens

    def _constraint(self) -> Constraint | None:
        return None

    def _first_target(self, tokenized: TokenizedExample) -> int:
        """Index of the first token that is predicted."""
        return 1 if self.settings.loss_on == "all" else max(tokenized.prompt_length, 1)
