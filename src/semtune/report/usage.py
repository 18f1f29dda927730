"""Columns of what prompting used: tokens of a text in and out, and their cost where there are prices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from semtune.records import RunResult, Usage
from semtune.report.table import Column, Footnotes
from semtune.report.view import Group, Statistic, StudyView

COUNTED = "Mean over all texts that the run predicted; answers kept from an earlier run count like new ones."
PRICED = "By the run's file of prices, which are as old as the file."
TEXTS = 1000
"""Texts that a cost is of."""

Get = Callable[[Group], Statistic | None]


def usage_columns(view: StudyView, notes: Footnotes) -> Iterator[tuple[Column, Get]]:
    """Each column with its figure of a group; none where no run was prompted."""
    used = [run.usage for run in view.runs if run.usage is not None]
    if not used:
        return
    marks = (notes.add(COUNTED), *_marks(view, notes))
    yield _column("Tokens in", "a text", "tok. in", marks), _mean(lambda usage: usage.prompt_tokens_per_text)
    yield _column("Tokens out", "a text", "tok. out", marks), _mean(lambda usage: usage.completion_tokens_per_text)
    for currency in dict.fromkeys(usage.currency for usage in used if usage.currency is not None):
        column = _column("Cost", f"{currency} per {TEXTS:,} texts", f"{currency}/{TEXTS}", (notes.add(PRICED),))
        yield column, _mean(lambda usage, of=currency: _cost(usage, of))  # type: ignore[misc]


def _cost(usage: Usage, currency: str) -> float | None:
    """The cost of `TEXTS` texts, where it is known in `currency`."""
    if usage.cost is None or usage.currency != currency or not usage.texts:
        return None
    return usage.cost / usage.texts * TEXTS


def _marks(view: StudyView, notes: Footnotes) -> Iterator[int]:
    """Footnotes on runs with kept or uncounted answers."""
    for group in view.groups:
        for run in group.runs:
            for sentence in _remarks(run):
                yield notes.add(f"{view.label(group)}, seed {run.seed}: {sentence}.")


def _remarks(run: RunResult) -> Iterator[str]:
    usage = run.usage
    if usage is not None and usage.kept_requests:
        answered = f"{usage.kept_requests:,} of {usage.requests:,} answers were kept from before"
        yield f"{answered}, so its speed is not the server's"
    if usage is not None and usage.uncounted_requests:
        yield f"the server told no tokens of {usage.uncounted_requests:,} answers, which count as 0"


def _column(title: str, unit: str, short: str, marks: tuple[int, ...]) -> Column:
    return Column(title, unit, short, drop=4, marks=marks)


def _mean(get: Callable[[Usage], float | None]) -> Get:
    return lambda group: group.figure(lambda run: None if run.usage is None else get(run.usage))
