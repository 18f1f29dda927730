"""`semtune evaluate`: the official score of a predictions file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semtune.cli import options as o


def evaluate(
    task: o.Task,
    predictions: Annotated[Path, typer.Option(help="A file in the task's submission format.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "dev",
    data_dir: o.DataDir = None,
    data: o.Data = None,
    dev_data: o.DevData = None,
    test_data: o.TestData = None,
    text_column: o.TextColumn = None,
    label_column: o.LabelColumn = None,
    id_column: o.IdColumn = None,
    label_separator: o.LabelSeparator = None,
    labels: o.Labels = None,
    encoding: o.Encoding = "utf-8",
    json: o.Json = False,
) -> int:
    """Score predictions as the task's organisers do."""
    from semtune.records import to_plain
    from semtune.registry import TASKS

    options = o.task_options(
        data_dir=data_dir, data=data, dev_data=dev_data, test_data=test_data, text_column=text_column,
        label_column=label_column, id_column=id_column, label_separator=label_separator, labels=labels,
        encoding=encoding,
    )  # fmt: skip
    chosen = TASKS.get(task)(options)
    scores = chosen.score(chosen.load(split), chosen.read_predictions(predictions))
    if json:
        o.print_json({**scores.values, "per_label": to_plain(scores.per_label)})
        return 0
    figures = [f"{metric.title} {scores.values[metric.name]:.5f}" for metric in chosen.metrics]
    typer.echo("   ".join([*figures, f"over {scores.examples} texts"]))
    if not scores.per_label:
        return 0
    width = max(map(len, scores.per_label), default=0)
    typer.echo(f"{'':{width}}  precision  recall     F1  texts")
    for label, s in scores.per_label.items():
        typer.echo(f"{label:{width}}  {s.precision:9.3f}  {s.recall:6.3f}  {s.f1:5.3f}  {s.support:5d}")
    return 0
