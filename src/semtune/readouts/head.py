"""A classification head: a sigmoid per label (a softmax where exactly one applies) on the last hidden state.

The strongest cheap way on small data. The head's bias starts at the labels' log-odds in the training set, so that
training does not spend its first steps learning frequencies; its weights start at zero. One threshold for all labels is
chosen on dev by micro-F1 (`calibrate`), which makes dev scores optimistic: reports say so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from semtune.contracts import AnswerKind, LoadedModel, Prompt, ReadoutSettings, TokenizedExample
from semtune.errors import ModelError
from semtune.readouts.batching import by_length, last_hidden, prompt_ids
from semtune.readouts.thresholds import Matrix, best_threshold, decide, gold_matrix
from semtune.records import Example, Prediction

WEIGHTS, STATE = "head.safetensors", "head.json"


class Head:
    """A linear layer in fp32 (fp64 for an fp64 model) over the hidden state of the prompt's last token."""

    name = "head"

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Prompt,
        labels: Sequence[str],
        answer: AnswerKind,
        settings: ReadoutSettings,
    ) -> None:
        self.loaded, self.prompt, self.labels, self.settings = loaded, prompt, tuple(labels), settings
        self.single = answer == "single_label"
        self.threshold = 0.5
        dtype = torch.float64 if loaded.compute_dtype == torch.float64 else torch.float32
        self.linear = nn.Linear(loaded.hidden_size, len(self.labels), dtype=dtype, device=loaded.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self._place = {label: i for i, label in enumerate(self.labels)}

    def prepare(self, train: Sequence[Example]) -> None:
        """Set the bias to the labels' log-odds (log-frequencies for one label a text), one count added to each."""
        counts = [1.0] * len(self.labels)
        for example in train:
            for label in example.labels or ():
                counts[self._place[label]] += 1
        total = len(train) + 2.0
        odds = [math.log(c / total) if self.single else math.log(c / max(total - c, 1.0)) for c in counts]
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor(odds))

    def trainable(self) -> dict[str, nn.Parameter]:
        """The linear layer."""
        return {f"head.{name}": parameter for name, parameter in self.linear.named_parameters()}

    def learning_rate(self) -> float | None:
        """A fresh layer learns faster than tuned ones; hidden states of Llama-like models have unit scale or more."""
        return 1e-3

    def encode(self, example: Example) -> TokenizedExample:
        """The prompt alone; the labels ride along as they are."""
        return self.loaded.tokenizer.encode(
            example, self.prompt.encode(example), self.settings.max_length, completion=False
        )

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """One text is one term (its loss is the sum over labels)."""
        return 1

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        """Summed binary cross-entropy over texts and labels (cross-entropy for one label a text), and the texts."""
        scores = self._scores([e.ids for e in batch])  # (texts, labels)
        targets = torch.zeros_like(scores)
        for row, e in enumerate(batch):
            for label in e.labels or ():
                targets[row, self._place[label]] = 1.0
        if self.single:
            return F.cross_entropy(scores, targets, reduction="sum"), len(batch)
        return F.binary_cross_entropy_with_logits(scores, targets, reduction="sum"), len(batch)

    def calibrate(self, dev: Sequence[Example]) -> list[Prediction]:
        """Choose the threshold with the best micro-F1 on `dev`; nothing to choose for one label a text."""
        probabilities = self._probabilities(dev, None)
        if not self.single and dev:
            self.threshold = best_threshold(probabilities, gold_matrix(dev, self.labels))
        return self._decide(dev, probabilities)

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Labels at or above the threshold (the most probable one where exactly one applies), with probabilities."""
        return self._decide(examples, self._probabilities(examples, progress))

    def _decide(self, examples: Sequence[Example], probabilities: Matrix) -> list[Prediction]:
        return decide(examples, probabilities, self.labels, None if self.single else self.threshold)

    def save(self, folder: Path) -> None:
        """`head.safetensors` and `head.json` (labels in order, threshold)."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"weight": self.linear.weight.detach().contiguous(), "bias": self.linear.bias.detach().contiguous()}
        save_file(tensors, folder / WEIGHTS)
        state = {"labels": list(self.labels), "threshold": self.threshold}
        (folder / STATE).write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError when it is missing, broken or for other labels."""
        try:
            tensors = load_file(folder / WEIGHTS, device=str(self.loaded.device))
            state = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if state["labels"] != list(self.labels):
                raise ModelError(f"The head in {folder} was trained for other labels; tune again for this task.")
            with torch.no_grad():
                self.linear.weight.copy_(tensors["weight"])
                self.linear.bias.copy_(tensors["bias"])
            self.threshold = float(state["threshold"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(f"The head in {folder} is missing or broken ({error}); tune again.") from error

    def _scores(self, texts: Sequence[Sequence[int]]) -> Tensor:
        hidden = last_hidden(self.loaded, texts)  # (texts, hidden_size)
        scores: Tensor = self.linear(hidden.to(self.linear.weight.dtype))  # (texts, labels)
        return scores

    @torch.no_grad()
    def _probabilities(self, examples: Sequence[Example], progress: Callable[[int], None] | None) -> Matrix:
        """(examples, labels)."""
        texts = prompt_ids(self.loaded, self.prompt, examples, self.settings.max_length)
        out = np.zeros((len(examples), len(self.labels)))
        for rows in by_length([len(t) for t in texts], self.settings.predict_batch_size):
            scores = self._scores([texts[r] for r in rows])
            out[rows] = (scores.softmax(-1) if self.single else scores.sigmoid()).double().cpu().numpy()
            if progress is not None:
                progress(len(rows))
        return out
