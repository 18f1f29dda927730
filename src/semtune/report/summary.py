"""A summary of a study in a few plain sentences, each made of recorded figures only.

No sentence claims more than is on record: no significance, no ranking by dev, no advice.
"""

from __future__ import annotations

from collections.abc import Sequence

from semtune.report.table import decimals, number
from semtune.report.view import STATUS_WORDS, Group, Statistic, StudyView


def summary(view: StudyView) -> list[str]:
    """A few sentences, the most important first."""
    sentences = [_endings(view), *_quality(view), _memory(view), _speed(view)]
    return [sentence for sentence in sentences if sentence]


def _endings(view: StudyView) -> str:
    """How many runs ended well, and which did not."""
    runs = view.runs
    if not runs:
        return "No run is on record yet."
    ok = sum(run.status == "ok" for run in runs)
    if len(runs) == 1:
        return "" if ok else f"The only run ({view.label(view.groups[0])}) {_ending(runs[0].status)}."
    whole = "Both runs" if len(runs) == 2 else f"All {len(runs)} runs"
    text = f"{whole if ok == len(runs) else f'{ok} of {len(runs)} runs'} ended well"
    lost = [
        f"{view.label(group)}{f' (seed {run.seed})' if len(group.runs) > 1 else ''} {_ending(run.status)}"
        for group in view.groups
        for run in group.lost
    ]
    return f"{text}; {', '.join(lost)}." if lost else f"{text}."


def _ending(status: str) -> str:
    return "does not fit in memory" if STATUS_WORDS[status] == "does not fit" else STATUS_WORDS[status]


def _quality(view: StudyView) -> list[str]:
    """The best primary test score with its distance from the strongest baseline, or why there is none."""
    if view.test_state == "unlabelled":
        return [_dev_only(view)]
    metric = view.primary
    scored = [
        (score, group)
        for group in view.groups
        if (score := group.score("test", metric)) is not None and not group.random_weights
    ]
    if not scored:
        return []
    top, group = max(scored, key=lambda pair: metric.rank(pair[0].mean))
    names = " and ".join(view.label(g) for g in view.best()) or view.label(group)
    subject = "The best test" if len(scored) > 1 else "Test"
    lower = "" if metric.higher_is_better else " (lower is better)"
    sentence = f"{subject} {metric.title}{lower} is {top.mean:.3f}{_spread(top)}, by {names}"
    bases = [(s.mean, base.name) for base in view.baselines if (s := base.score("test", metric)) is not None]
    if bases:
        strongest, name = max(bases, key=lambda pair: (metric.rank(pair[0]), pair[1]))
        # From the figures as printed, so that a reader who subtracts them gets the same.
        gap = round(top.mean, 3) - round(strongest, 3)
        side = "above" if gap > 0 else "below"
        where = f"{abs(gap):.3f} {side}" if round(abs(gap), 3) else "level with"
        sentence += f": {where} the strongest baseline, {name} ({strongest:.3f})"
    sentences = [sentence + "."]
    if all(score.n == 1 for score, _ in scored):
        sentences.append("Each figure is of one seed, so differences of a few points are noise.")
    return sentences


def _dev_only(view: StudyView) -> str:
    scored = any(group.score("dev", view.primary) for group in view.groups)
    text = "The test split has no gold labels here, so nothing can be scored on it"
    if not scored:
        return text + "."
    chosen = ", and they are optimistic, since dev chose the epoch" if view.selected_on == "dev" else ""
    return f"{text}; the scores shown are of dev{chosen}."


def _spread(score: Statistic) -> str:
    return "" if score.sd is None else f" ± {score.sd:.3f} ({score.n} seeds)"


def _memory(view: StudyView) -> str:
    """The smallest and the largest peak: while training, or, where nothing is trained, while predicting."""
    training = [group for group in view.groups if not group.trains_nothing]
    groups = training or view.groups
    peaks = [(peak.mean * 1e-9, group) for group in groups if (peak := group.working_peak) is not None]
    return _range(view, f"Peak memory while {'training' if training else 'predicting'}", peaks, "GB", 2)


def _speed(view: StudyView) -> str:
    """The slowest and the fastest training."""
    speeds = [(s.mean, g) for g in view.groups if (s := g.figure(lambda run: run.tokens_per_second)) is not None]
    return _range(view, "Training speed", speeds, "tokens/s", decimals([speed for speed, _ in speeds]))


def _range(view: StudyView, what: str, figures: Sequence[tuple[float, Group]], unit: str, digits: int) -> str:
    """The ends of a range with whose they are: "Training speed ranges from 461 (full) to 581 tokens/s (lora)."."""
    if not figures:
        return ""
    least, first = min(figures, key=lambda pair: pair[0])
    most, last = max(figures, key=lambda pair: pair[0])
    if first is last:
        return f"{what} is {number(least, digits)} {unit} ({view.label(first)})."
    low, high = number(least, digits), number(most, digits)
    if low == high:
        return f"{what} is {low} {unit} for each of {len(figures)} kinds of run."
    return f"{what} ranges from {low} ({view.label(first)}) to {high} {unit} ({view.label(last)})."
