"""Texts, strategies and a generator for the tests of prompting strategies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semtune.contracts import PromptParts, Strategy, TaskContext
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, TargetKind, TargetSpace, label_target
from semtune.registry import STRATEGIES

LABELS = ("good", "bad", "odd")
TEXTS = [
    ("the soup was warm and kind", ("good",)),
    ("a cold and bitter soup for cold people", ("bad",)),
    ("kind people bake warm bread", ("good", "odd")),
    ("bitter bread, cold people", ("bad",)),
    ("a stone in the bread is odd", ("bad", "odd")),
    ("nobody knows what this dish is", ()),
]


def examples(kind: TargetKind = "label_set") -> list[Example]:
    """The six training texts; of a single-label task with their first label."""
    rows = [(text, labels if kind == "label_set" else (labels or ("odd",))[:1]) for text, labels in TEXTS]
    return [Example(f"t{i}", text, label_target(kind, labels)) for i, (text, labels) in enumerate(rows)]


def context(kind: TargetKind = "label_set", meanings: Mapping[str, str] | None = None) -> TaskContext:
    return TaskContext("it", TargetSpace(kind, LABELS), (), meanings or {})


def strategy(
    name: str, kind: TargetKind = "label_set", meanings: Mapping[str, str] | None = None, **options: Any
) -> Strategy:
    """A registered strategy with options; `meanings`: the task's definitions of labels."""
    cls = STRATEGIES.get(name)
    asked = context(kind, meanings)
    made: Strategy = cls(asked, ReportPrompt(asked.space), cls.Settings(**options))
    return made


def fitted(name: str, kind: TargetKind = "label_set", **options: Any) -> Strategy:
    """A strategy that has read the six training texts."""
    made = strategy(name, kind, **options)
    made.fit(examples(kind))
    if hasattr(made, "index"):
        made.index(Remembering())
    return made


class Remembering:
    """A generator that answers with the same text, counts characters as tokens, and remembers prompts and notes.

    Its embeddings are hashed character 3-grams.
    """

    def __init__(self, answer: str = " good") -> None:
        self.answer = answer
        self.prompts: list[str] = []
        self.notes: list[Mapping[str, Any]] = []
        self.grammars: list[Any] = []

    def encode(self, parts: PromptParts, max_length: int) -> tuple[int, ...]:
        room = max_length - len(parts.prefix + parts.suffix)
        return tuple(map(ord, parts.prefix + parts.text[:room] + parts.suffix))

    def generate(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, constraint: Any = None) -> list[str]:
        self.prompts += ["".join(map(chr, prompt)) for prompt in prompts]
        return [self.answer + self.grammars[-1].end for _ in prompts]

    def label_constraint(self, grammar: Any) -> Any:
        self.grammars.append(grammar)
        return grammar

    def note(self, entry: Mapping[str, Any]) -> None:
        self.notes.append(entry)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for i in range(len(text) - 2):
                row[hashlib.sha256(text[i : i + 3].encode()).digest()[0] % 64] += 1
        return vectors
