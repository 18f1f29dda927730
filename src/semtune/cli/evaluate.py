"""`semtune evaluate`: the official score of a predictions file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtune.cli import options as o
from semtune.cli.generate import with_options
from semtune.errors import SemtuneError
from semtune.records import TaskOptions
from semtune.runtime.streams import on_one_line

if TYPE_CHECKING:
    from semtune.contracts import Task


@with_options(TaskOptions)
def evaluate(
    task: Annotated[str, typer.Option(help="The task: see `semtune list tasks`.")],
    predictions: Annotated[Path, typer.Option(help="A file in the task's submission format.")],
    values: Mapping[str, Any],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "dev",
    json: o.Json = False,
) -> int:
    """Score predictions as the task does: a shared task as its organisers, your own table as scikit-learn."""
    from semtune.records import to_plain
    from semtune.registry import TASKS
    from semtune.specs import record_from
    from semtune.tasks.intervals import intervals_of

    options = record_from(TaskOptions, values["task_options"], "the command line")
    chosen = TASKS.get(task)(options)
    for note in chosen.data_notes:
        o.say(note)
    if options.data is not None:
        doubt = _doubt(predictions, _is_of_these_data(predictions, chosen), has_ids=options.id_column is not None)
        if doubt is not None:
            o.say(doubt)
    gold, predicted = chosen.load(split), chosen.read_predictions(predictions)
    scores, intervals = chosen.score(gold, predicted), intervals_of(chosen, gold, predicted)
    for metric in chosen.metrics:
        if metric.definition:
            o.say(f"{metric.title} is {metric.definition}")
    if json:
        o.print_json({**scores.values, "intervals": intervals, "per_label": to_plain(scores.per_label)})
        return 0
    ends = {name: f" ({low:.3f} to {high:.3f})" for name, (low, high) in intervals.items()}
    figures = [f"{m.title} {scores.values[m.name]:.5f}{ends.get(m.name, '')}" for m in chosen.metrics]
    if ends:
        o.say("in brackets: the 95% bootstrap interval over the texts")
    o.show("   ".join([*figures, f"over {scores.examples} texts"]))
    if not scores.per_label:
        return 0
    width = max((len(on_one_line(label)) for label in scores.per_label), default=0)
    o.show(f"{'':{width}}  precision  recall     F1  texts")
    for label, s in scores.per_label.items():
        o.show(f"{on_one_line(label):{width}}  {s.precision:9.3f}  {s.recall:6.3f}  {s.f1:5.3f}  {s.support:5d}")
    return 0


def _doubt(predictions: Path, known: bool | None, *, has_ids: bool) -> str | None:
    """What to say where predictions may be of other texts; None: nothing. `known`: see `_is_of_these_data`."""
    other = "the data are not those that this run predicted"
    if known is False and has_ids:
        return (
            f"{other}: where an id stands at another text now, its prediction is held against that one; predict again "
            "unless every text has kept its id"
        )
    if known is False:
        return (
            f"{other}, and ids are row numbers: where rows have moved, predictions are held against other texts; "
            "predict again, or give rows ids (--id-column)"
        )
    if known is None and not has_ids:
        return (
            f"ids are row numbers, and {predictions} is in no run folder that says which data it is of: unless the "
            "data have the same rows in the same order as then, predictions are held against other texts; predict "
            "again, or give rows ids (--id-column)"
        )
    return None


def _is_of_these_data(predictions: Path, task: Task) -> bool | None:
    """Whether a run folder's predictions were made of the data that `task` has now; None where nobody knows."""
    from semtune.runs.data import FINAL_SPLITS, fingerprint_of
    from semtune.runs.folder import RunFolder, read_result

    try:
        then = read_result(RunFolder(predictions.parent).result).data_fingerprint
    except SemtuneError:  # no run's folder
        return None
    if then is None:
        return None
    return then == fingerprint_of(task, {split: task.load(split) for split in ("train", *FINAL_SPLITS)})
