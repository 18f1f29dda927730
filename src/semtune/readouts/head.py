"""A classification head: a sigmoid per label (a softmax where exactly one applies) on the last hidden state.

The strongest cheap readout on small data. The head's bias starts at the labels' log-odds in the training set, so that
training does not spend its first steps learning frequencies; its weights start at zero.

Where nothing of the model is trained, each text of training and dev passes through the model once: its hidden state is
kept (`kept_states`), and every further step is a product of kept states with the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from semtune.contracts import LoadedModel, Prompt, ReadoutSettings, TokenizedExample
from semtune.errors import ModelError
from semtune.readouts.base import LabelProbabilities, Matrix
from semtune.readouts.batching import by_length, last_hidden, prompt_ids
from semtune.readouts.kept_states import KeptStates, is_frozen
from semtune.records import Example, TargetSpace

WEIGHTS = "head.safetensors"


class Head(LabelProbabilities):
    """A linear layer in fp32 (fp64 for an fp64 model) over the hidden state of the prompt's last token."""

    name = "head"
    state_file = "head.json"
    has_parameters = True

    def __init__(self, loaded: LoadedModel, prompt: Prompt, space: TargetSpace, settings: ReadoutSettings) -> None:
        super().__init__(loaded, prompt, space, settings)
        dtype = torch.float64 if loaded.compute_dtype == torch.float64 else torch.float32
        self.linear = nn.Linear(loaded.hidden_size, len(space.labels), dtype=dtype, device=loaded.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self._kept = KeptStates(loaded, dtype)
        self._column = {label: i for i, label in enumerate(space.labels)}

    def prepare(self, train: Sequence[Example]) -> None:
        """Set the bias to the labels' log-odds (log-frequencies for one label a text), one count added to each."""
        counts = [1.0] * len(self.space.labels)
        for example in train:
            for label in example.labels or ():
                counts[self._column[label]] += 1
        total = len(train) + 2.0
        odds = [math.log(c / total) if self.single else math.log(c / max(total - c, 1.0)) for c in counts]
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor(odds))

    def trainable(self) -> dict[str, nn.Parameter]:
        """The linear layer."""
        return {f"head.{name}": parameter for name, parameter in self.linear.named_parameters()}

    def learning_rate(self) -> float | None:
        """1e-3: a new layer learns faster than tuned ones, and hidden states of Llama-like models have unit scale."""
        return 1e-3

    @property
    def kept_bytes_per_example(self) -> int:
        """A hidden state's where nothing of the model is trained; 0 elsewhere."""
        return self._kept.bytes_per_text if is_frozen(self.loaded.model) else 0

    def encode(self, example: Example) -> TokenizedExample:
        """The prompt's token ids, with the target beside them."""
        return self.loaded.tokenizer.encode(
            example, self.prompt.encode(example), self.settings.max_length, completion=False
        )

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """One text is one loss target (its loss is the sum over labels)."""
        return 1

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        """Binary cross-entropy summed over texts and labels (cross-entropy for one label a text), and the texts."""
        scores = self.linear(self._hidden([e.id for e in batch], [e.ids for e in batch], keep=True))  # (texts, labels)
        targets = torch.zeros_like(scores)
        for row, e in enumerate(batch):
            for label in e.target.labels if e.target is not None else ():
                targets[row, self._column[label]] = 1.0
        if self.single:
            return F.cross_entropy(scores, targets, reduction="sum"), len(batch)
        return F.binary_cross_entropy_with_logits(scores, targets, reduction="sum"), len(batch)

    def save(self, folder: Path) -> None:
        """`head.safetensors` and `head.json` (labels in order, threshold)."""
        super().save(folder)
        tensors = {"weight": self.linear.weight.detach().contiguous(), "bias": self.linear.bias.detach().contiguous()}
        save_file(tensors, folder / WEIGHTS)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError when it is missing, broken or for other labels."""
        super().load(folder)
        try:
            tensors = load_file(folder / WEIGHTS, device=str(self.loaded.device))
            with torch.no_grad():
                self.linear.weight.copy_(tensors["weight"])
                self.linear.bias.copy_(tensors["bias"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(f"The head in {folder} is missing or broken ({error}); tune again.") from error

    def _hidden(self, names: Sequence[str], texts: Sequence[Sequence[int]], *, keep: bool) -> Tensor:
        """(texts, hidden_size) in the head's dtype.

        Args:
            names: the id of each text's example.
            keep: whether the texts return every epoch, so that it pays to keep their states where they never change.
        """
        if keep and is_frozen(self.loaded.model):
            return self._kept.of(names, texts)
        return last_hidden(self.loaded, texts).to(self.linear.weight.dtype)

    def probabilities(self, examples: Sequence[Example], progress: Callable[[int], None] | None) -> Matrix:
        """Sigmoids, or a softmax where exactly one label applies; (examples, labels), fp64.

        Nothing is kept: what is predicted once would fill the memory of a model that predicts for long.
        """
        return self._probabilities(examples, progress, keep=False)

    def dev_probabilities(self, dev: Sequence[Example]) -> Matrix:
        """As `probabilities`, with hidden states that are kept where nothing of the model is trained."""
        return self._probabilities(dev, None, keep=True)

    @torch.no_grad()
    def _probabilities(
        self, examples: Sequence[Example], progress: Callable[[int], None] | None, *, keep: bool
    ) -> Matrix:
        texts = prompt_ids(self.loaded, self.prompt, examples, self.settings.max_length)
        out = np.zeros((len(examples), len(self.space.labels)))
        for rows in by_length([len(t) for t in texts], self.settings.predict_batch_size):
            hidden = self._hidden([examples[r].id for r in rows], [texts[r] for r in rows], keep=keep)
            scores = self.linear(hidden)  # (rows, labels)
            out[rows] = (scores.softmax(-1) if self.single else scores.sigmoid()).cpu().numpy().astype(np.float64)
            if progress is not None:
                progress(len(rows))
        return out
