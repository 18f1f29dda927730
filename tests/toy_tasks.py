"""Tasks of the tests' own whose targets are spans and free texts, each with its metric and a prompt that serves it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from semtune.contracts import Parsed, PromptParts
from semtune.records import (
    Example,
    FreeText,
    LabelScore,
    Metric,
    Prediction,
    Scores,
    Span,
    Spans,
    TargetKind,
    TargetSpace,
    TaskOptions,
)
from semtune.tasks import scoring
from semtune.tasks.base import BaseTask

SPAN_F1 = Metric("span_f1", "span F1")
CHARACTER_ERROR = Metric("character_error", "character error", higher_is_better=False)
LENGTH_RATIO = Metric("length_ratio", "length ratio")

SPAN_EXAMPLES = (
    Example("1", "Vote for Norbury jam!", Spans((Span(0, 4, "Call"), Span(9, 16, "Name")))),
    Example("2", "one two three", Spans(())),
    Example("3", "Why, oh why?", Spans((Span(0, 3, "Call"),))),
)
TEXT_EXAMPLES = (
    Example("1", "one two three", FreeText("three two one")),
    Example("2", "no", FreeText("on")),
)


class SpanTask(BaseTask):
    """Labelled spans, scored by the F1 of exact spans."""

    name = "toy-spans"

    @property
    def target_kind(self) -> TargetKind:
        return "spans"

    @property
    def labels(self) -> tuple[str, ...]:
        return ("Call", "Name")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (SPAN_F1,)

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        pairs = scoring.paired(gold, predictions, self._where(gold))
        sets = [(set(example.target.spans), set(prediction.output.spans)) for example, prediction in pairs]
        hits, total = sum(len(g & p) for g, p in sets), sum(len(g) + len(p) for g, p in sets)
        per_label = {label: LabelScore(1.0, 1.0, 1.0, 1) for label in self.labels}
        f1 = 2 * hits / total if total else 1.0
        return Scores("span_f1", {"span_f1": f1}, scoring.parse_failures(predictions), per_label, len(pairs))

    def _read(self, split: str) -> list[Example]:
        return list(SPAN_EXAMPLES)


class TextTask(BaseTask):
    """Free texts, scored by the share of wrong characters: lower is better."""

    name = "toy-text"

    @property
    def target_kind(self) -> TargetKind:
        return "text"

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (CHARACTER_ERROR, LENGTH_RATIO)

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        pairs = scoring.paired(gold, predictions, self._where(gold))
        texts = [(example.target.text, prediction.output.text) for example, prediction in pairs]
        wrong = sum(sum(a != b for a, b in zip(g, p, strict=False)) + abs(len(g) - len(p)) for g, p in texts)
        length = sum(len(g) for g, _ in texts)
        values = {"character_error": wrong / length, "length_ratio": sum(len(p) for _, p in texts) / length}
        return Scores("character_error", values, scoring.parse_failures(predictions), {}, len(pairs))

    def _read(self, split: str) -> list[Example]:
        return list(TEXT_EXAMPLES)


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The prompts below have no options."""


class SpanPrompt:
    """`<text> <spans:> 0-4 Call; 9-16 Name`."""

    name = "toy-spans"
    target_kinds = frozenset({"spans"})
    Settings = NoSettings

    def __init__(self, space: TargetSpace, settings: NoSettings) -> None:
        self.space = space

    def encode(self, example: Example) -> PromptParts:
        completion = None
        if example.target is not None:
            completion = " " + ("; ".join(f"{s.start}-{s.end} {s.label}" for s in example.target.spans) or "-")
        return PromptParts("", example.text, " <spans:>", completion)

    def parse(self, completion: str) -> Parsed:
        if completion.strip() == "-":
            return Parsed(Spans(()), ok=True)
        found = [re.fullmatch(r"(\d+)-(\d+) (\w+)", part) for part in completion.strip().split("; ")]
        spans = tuple(Span(int(m[1]), int(m[2]), m[3]) for m in found if m and m[3] in self.space.labels)
        return Parsed(Spans(spans) if spans else None, ok=len(spans) == len(found))

    def grammar(self) -> None:
        return None


class TextPrompt:
    """`<text> <backwards:> <text>`; every completion is a valid answer."""

    name = "toy-text"
    target_kinds = frozenset({"text"})
    Settings = NoSettings

    def __init__(self, space: TargetSpace, settings: NoSettings) -> None:
        self.space = space

    def encode(self, example: Example) -> PromptParts:
        completion = None if example.target is None else " " + example.target.text
        return PromptParts("", example.text, " <backwards:>", completion)

    def parse(self, completion: str) -> Parsed:
        return Parsed(FreeText(completion.strip()), ok=bool(completion.strip()))

    def grammar(self) -> None:
        return None


def span_task() -> SpanTask:
    return SpanTask(TaskOptions())


def text_task() -> TextTask:
    return TextTask(TaskOptions())
