"""A readout, a prompting strategy, a baseline, a launcher, a quantisation and an architecture from outside semtune."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.contracts import Prompt, StrategyGenerator, TaskContext, TokenizedExample
from semtune.nn.linear import QuantizedLinear
from semtune.progress import NoProgress
from semtune.readouts.base import BaseReadout
from semtune.records import Example, Prediction, RunResult, RunSpec, SingleLabel, TargetKind, option
from semtune.runs.runner import run

SINGLE: frozenset[TargetKind] = frozenset({"single_label"})


class TwoLayerHead(BaseReadout):
    """A classifier with a hidden layer over the hidden state of the prompt's last token."""

    name = "two-layer-head"
    target_kinds: ClassVar[frozenset[TargetKind]] = SINGLE
    has_parameters = True

    def __init__(self, loaded: Any, prompt: Prompt, space: Any, settings: Any) -> None:
        super().__init__(loaded, prompt, space, settings)
        self.layers = nn.Sequential(nn.Linear(loaded.hidden_size, 8), nn.Tanh(), nn.Linear(8, len(space.labels)))

    def trainable(self) -> dict[str, nn.Parameter]:
        return {f"two-layer-head.{name}": p for name, p in self.layers.named_parameters()}

    def learning_rate(self) -> float | None:
        return 1e-2

    def encode(self, example: Example) -> TokenizedExample:
        tokenizer, parts = self.loaded.tokenizer, self.prompt.encode(example)
        return tokenizer.encode(example, parts, self.settings.max_length, completion=False)

    def num_targets(self, tokenized: TokenizedExample) -> int:
        return 1

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        targets = torch.tensor([self.space.labels.index(e.target.label) for e in batch])
        return F.cross_entropy(self._scores([e.ids for e in batch]), targets, reduction="sum"), len(batch)

    @torch.no_grad()
    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        best = self._scores([self.encode(e).ids for e in examples]).argmax(-1).tolist()
        return [Prediction(e.id, SingleLabel(self.space.labels[i])) for e, i in zip(examples, best, strict=True)]

    def save(self, folder: Path) -> None:
        save_file(self.layers.state_dict(), folder / "two-layer-head.safetensors")

    def load(self, folder: Path) -> None:
        self.layers.load_state_dict(load_file(folder / "two-layer-head.safetensors"))

    def _scores(self, texts: Sequence[Sequence[int]]) -> Tensor:
        ids, batch = self.loaded.pack(texts)
        ends = [end - 1 for end in itertools.accumulate(map(len, texts))]
        return self.layers(self.loaded.hidden_states(ids, batch, ends).float())


class LikeliestLabel:
    """Asks how probable each label is behind the text and an instruction, and answers with the most probable one."""

    name: ClassVar[str] = "likeliest-label"
    target_kinds: ClassVar[frozenset[TargetKind]] = SINGLE

    @dataclass(frozen=True, slots=True)
    class Settings:
        instruction: str = option("The mood:", help="What stands between the text and the label.")

    def __init__(self, context: TaskContext, prompt: Prompt, settings: Settings) -> None:
        self.labels, self.settings = context.space.labels, settings

    def fit(self, train: Sequence[Example]) -> None:
        pass

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        values = generator.loglikelihood(
            [f"{example.text} {self.settings.instruction}"], [f" {x}" for x in self.labels]
        )
        return Prediction(example.id, SingleLabel(self.labels[int(values[0].argmax())]))

    def save(self, folder: Path) -> None:
        (folder / "instruction.txt").write_text(self.settings.instruction, encoding="utf-8")

    def load(self, folder: Path) -> None:
        assert (folder / "instruction.txt").read_text(encoding="utf-8") == self.settings.instruction


class LongestText:
    """The first label for texts longer than the median of the training texts, the second one for others."""

    name: ClassVar[str] = "longest-text"
    target_kinds: ClassVar[frozenset[TargetKind]] = SINGLE

    def __init__(self, context: TaskContext) -> None:
        self.labels, self.median = context.space.labels, 0

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        self.median = sorted(len(e.text) for e in train)[len(train) // 2]

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        return [Prediction(e.id, SingleLabel(self.labels[int(len(e.text) <= self.median)])) for e in examples]

    def save(self, folder: Path) -> None:
        (folder / "median.txt").write_text(str(self.median), encoding="utf-8")

    def load(self, folder: Path) -> None:
        self.median = int((folder / "median.txt").read_text(encoding="utf-8"))


class InProcess:
    """Runs each run in the study's own process, when it is waited for."""

    def __init__(self, parallel: int) -> None:
        self.submitted: dict[Path, RunSpec] = {}

    def submit(self, spec: RunSpec, folder: Path) -> Path:
        self.submitted[folder] = spec
        return folder

    def wait(self, handles: Sequence[Path]) -> tuple[Path, RunResult]:
        return handles[0], run(self.submitted.pop(handles[0]), handles[0], NoProgress(), overwrite=True)

    def interrupt(self, handles: Sequence[Path]) -> list[tuple[Path, RunResult]]:
        return []


class Int8Linear(QuantizedLinear):
    """W_ij = codes_ij · scales_i, one scale a row."""

    STORAGE: ClassVar[str] = "int8 weights"
    codes: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias, compute_dtype)
        scales = weight.float().abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("codes", (weight.float() / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        return (self.codes * self.scales).to(dtype)


class Int8:
    """Every decoder weight in 8 bits."""

    name = "rowwise-int8"
    offloadable = False
    note: str | None = "weights rounded to 8 bits a row"

    def quantize(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> nn.Module:
        return Int8Linear(weight, bias, compute_dtype)


INT8 = Int8()
