"""Two tasks from outside semtune, with prompts: labelled spans with a metric of their own, and free text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from semtune.contracts import AnswerGrammar, Parsed, PromptParts
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
)
from semtune.tasks.base import BaseTask

COLOURS = ("red", "blue", "green")
SIZES = {"train": 16, "dev": 6, "test": 6}
THINGS = {"train": "door", "dev": "wall", "test": "roof"}
"""Splits that share texts are refused, so each has things of its own."""


class ColourSpans(BaseTask):
    """Where a text names a colour. Primary metric: the share of texts with exactly the right spans."""

    name = "colour-spans"

    @property
    def target_kind(self) -> TargetKind:
        return "spans"

    @property
    def labels(self) -> tuple[str, ...]:
        return ("colour",)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric("exact_spans", "exact spans"), Metric("character_overlap", "character overlap"))

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        said = {p.id: p for p in predictions}
        exact = sum(said[e.id].output == e.target for e in gold) / len(gold)
        shares = [_overlap(_characters(e.target), _characters(said[e.id].output)) for e in gold]
        failures = sum(not p.parsed for p in predictions) / len(gold)
        values = {"exact_spans": exact, "character_overlap": sum(shares) / len(gold)}
        return Scores(
            "exact_spans", values, failures, {"colour": LabelScore(exact, exact, exact, len(gold))}, len(gold)
        )

    def _read(self, split: str) -> list[Example]:
        found = []
        for i in range(SIZES[split]):
            colour = COLOURS[i % len(COLOURS)]
            start = len("the ")
            span = Span(start, start + len(colour), "colour")
            found.append(Example(f"{split}-{i}", f"the {colour} {THINGS[split]} {i}", Spans((span,))))
        return found


def _characters(target: object) -> set[int]:
    return {c for span in getattr(target, "spans", ()) for c in range(span.start, span.end)}


def _overlap(gold: set[int], said: set[int]) -> float:
    return len(gold & said) / len(gold | said) if gold | said else 1.0


class SpanPrompt:
    """`<text> <spans:> start-end, …`."""

    name = "offsets"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"spans"})

    @dataclass(frozen=True, slots=True)
    class Settings:
        pass

    def __init__(self, space: TargetSpace, settings: Settings) -> None:
        self.space = space

    def encode(self, example: Example) -> PromptParts:
        completion = None
        if isinstance(example.target, Spans):
            completion = " " + ", ".join(f"{s.start}-{s.end}" for s in example.target.spans)
        return PromptParts(prefix="", text=example.text, suffix=" <spans:>", completion=completion)

    def parse(self, completion: str) -> Parsed:
        try:
            pairs = [part.split("-") for part in completion.split(",") if part.strip()]
            spans = tuple(Span(int(a), int(b), self.space.labels[0]) for a, b in pairs)
        except ValueError:
            return Parsed(Spans(()), ok=False)
        return Parsed(Spans(spans), ok=bool(spans))

    def grammar(self) -> AnswerGrammar | None:
        return None


class Reversal(BaseTask):
    """A word, written backwards. Primary metric: wrong characters in a hundred, where lower is better."""

    name = "reversal"

    @property
    def target_kind(self) -> TargetKind:
        return "text"

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric("character_errors", "character errors", higher_is_better=False), Metric("exact", "exact match"))

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        said = {p.id: p.output for p in predictions}
        pairs = [(getattr(e.target, "text", ""), getattr(said[e.id], "text", "")) for e in gold]
        wrong = sum(sum(a != b for a, b in zip(x.ljust(len(y)), y.ljust(len(x)), strict=True)) for x, y in pairs)
        total = sum(len(x) for x, _ in pairs)
        values = {"character_errors": 100.0 * wrong / total, "exact": sum(x == y for x, y in pairs) / len(pairs)}
        return Scores("character_errors", values, 0.0, {}, len(gold))

    def _read(self, split: str) -> list[Example]:
        words = [colour * (1 + i % 2) + THINGS[split] for i, colour in enumerate(COLOURS * 6)]
        return [Example(f"{split}-{i}", w, FreeText(w[::-1])) for i, w in enumerate(words[: SIZES[split]])]


class TextPrompt:
    """`<text> => <answer>`."""

    name = "arrow"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"text"})

    @dataclass(frozen=True, slots=True)
    class Settings:
        pass

    def __init__(self, space: TargetSpace, settings: Settings) -> None:
        pass

    def encode(self, example: Example) -> PromptParts:
        completion = f" {example.target.text}" if isinstance(example.target, FreeText) else None
        return PromptParts(prefix="", text=example.text, suffix=" =>", completion=completion)

    def parse(self, completion: str) -> Parsed:
        return Parsed(FreeText(completion.strip()), ok=True)

    def grammar(self) -> AnswerGrammar | None:
        return None
