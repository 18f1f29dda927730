"""Labels as text: next-token prediction in training, greedy decoding at inference, as in the original experiment.

Scores come from what the model really generates, never from teacher-forced tokens. A completion that does not parse is
counted, and scored with whatever labels could be read from it; it is never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from semtune.contracts import AnswerKind, Bundle, Encoded, Prompt, ReadoutSettings
from semtune.readouts.batching import label_completions, lay_end_to_end, prompt_ids
from semtune.readouts.decoding import Constraint, greedy
from semtune.readouts.drafts import Drafts
from semtune.records import Example, Prediction


class Generate:
    """Cross-entropy over the completion (or over all tokens, `loss_on: all`), and greedy decoding."""

    name = "generate"

    def __init__(
        self,
        bundle: Bundle,
        prompt: Prompt,
        labels: Sequence[str],
        answer: AnswerKind,
        settings: ReadoutSettings,
    ) -> None:
        self.bundle, self.prompt, self.labels, self.settings = bundle, prompt, tuple(labels), settings

    def prepare(self, train: Sequence[Example]) -> None:
        """Nothing to learn from the data before training."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """No parameters of its own: the vocabulary product is the model's."""
        return {}

    def learning_rate(self) -> float | None:
        """None: there is nothing to train here."""
        return None

    def encode(self, example: Example) -> Encoded:
        """Prompt, completion and end-of-sequence as token ids."""
        return self.bundle.encoder.encode(
            example, self.prompt.encode(example), self.settings.max_length, completion=True
        )

    def terms(self, encoded: Encoded) -> int:
        """Tokens that are predicted: the completion with its end-of-sequence, or all but the first."""
        return len(encoded) - self._first_target(encoded)

    def loss(self, batch: Sequence[Encoded]) -> tuple[Tensor, int]:
        """Summed cross-entropy of the next token at the positions that count; scalar fp32, and their number.

        Nothing is worked out for other positions alone. The last token of each text is a target and never an input.
        """
        device = self.bundle.device
        ids, ragged = lay_end_to_end([e.ids[:-1] for e in batch], device)
        places: list[int] = []
        targets: list[int] = []
        offset = 0
        for e in batch:
            first = self._first_target(e)
            places += range(offset + first - 1, offset + len(e) - 1)
            targets += e.ids[first:]
            offset += len(e) - 1
        hidden = self.bundle.hidden_states(ids, ragged, places)  # (terms, hidden_size)
        return self.bundle.next_token_loss(hidden, torch.tensor(targets, device=device)), len(targets)

    def calibrate(self, dev: Sequence[Example]) -> list[Prediction]:
        """Nothing is chosen on dev beside the epoch: plain answers."""
        return self.answer(dev)

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Greedy decoding, `predict_batch_size` texts at once; predictions in the order of `examples`."""
        prompts = prompt_ids(self.bundle, self.prompt, examples, self.settings.max_length)
        alone = label_completions(self.bundle, self.prompt, [(label,) for label in self.labels])
        said = greedy(
            self.bundle,
            prompts,
            self._most_tokens(),
            self._constraint(),
            at_once=self.settings.predict_batch_size,
            drafts=Drafts(self.bundle.encoder.eos_id, alone),
            progress=progress,
        )
        predictions = []
        for example, ids in zip(examples, said, strict=True):
            text = self.bundle.encoder.decode(ids)
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

    def _first_target(self, encoded: Encoded) -> int:
        """Index of the first token that is predicted."""
        return 1 if self.settings.loss_on == "all" else max(encoded.prompt_length, 1)
