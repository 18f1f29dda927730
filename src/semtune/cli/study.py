"""`semtune study`: several ways of tuning side by side."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from semtune.cli import options as o
from semtune.errors import OptionError


def study(
    file: Annotated[Path | None, typer.Argument(help="A study file, such as studies/demo.yaml.")] = None,
    out: Annotated[Path, typer.Option(help="The study folder to write.")] = Path("studies-out/study"),
    task: Annotated[str | None, typer.Option(help="The task, where there is no study file.")] = None,
    model: Annotated[str | None, typer.Option(help="The model or models, comma separated.")] = None,
    methods: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list methods`.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list prompts`.")] = None,
    readouts: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list readouts`.")] = None,
    preset: Annotated[str | None, typer.Option(help="default or report.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Comma separated whole numbers.")] = None,
    strategies: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list strategies`.")] = None,
    baselines: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list baselines`.")] = None,
    launcher: Annotated[str | None, typer.Option(help="Who starts the runs: see `semtune list launchers`.")] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Runs under way at once; they share the machine, so speeds do not compare.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    data_dir: o.DataDir = None,
    data: o.Data = None,
    dev_data: o.DevData = None,
    test_data: o.TestData = None,
    text_column: o.TextColumn = None,
    label_column: o.LabelColumn = None,
    id_column: o.IdColumn = None,
    label_separator: o.LabelSeparator = None,
    labels: o.Labels = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of your text files.")] = None,
    json: o.Json = False,
) -> int:
    """Run a grid of methods, models, prompts, readouts and seeds, and compare them. Options override the file."""
    from semtune.registry import LAUNCHERS
    from semtune.specs.resolve import read_yaml
    from semtune.study.grid import AXES, study_from
    from semtune.study.study import run_study

    if file is None and task is None:
        raise OptionError("Give a study file, or at least --task.")
    values = read_yaml(file) if file is not None else {}
    lists = {
        "strategies": strategies,
        "baselines": baselines,
        "models": model,
        "methods": methods,
        "prompts": prompts,
        "readouts": readouts,
    }
    given: dict[str, Any] = {key: list(o.split_names(v) or ()) for key, v in lists.items() if v is not None}
    if seeds is not None:
        given["seeds"] = _whole_numbers(seeds)
    for axis in given:
        values.pop(AXES.get(axis, axis), None)
    scalars = {"task": task, "preset": preset, "epochs": epochs, "launcher": launcher, "parallel": parallel}
    given |= {k: v for k, v in scalars.items() if v is not None}
    asked = {
        "data_dir": data_dir, "data": data, "dev_data": dev_data, "test_data": test_data, "text_column": text_column,
        "label_column": label_column, "id_column": id_column, "label_separator": label_separator,
        "labels": o.split_names(labels), "encoding": encoding,
    }  # fmt: skip
    options = {**(values.get("task_options") or {}), **{k: v for k, v in asked.items() if v is not None}}
    spec = study_from({**values, **given, "task_options": options}, str(file or "the command line"))
    command = shlex.join(["semtune", *sys.argv[1:]])
    starter = LAUNCHERS.get(spec.launcher)(spec.parallel)
    record = run_study(spec, out, command, starter, o.say, parallel=spec.parallel)
    _show(record, out, json)
    ended_well = all(run.get("status", "ok") == "ok" for run in (*record["runs"], *record["baselines"]))
    return 0 if ended_well else 1


def _show(record: dict[str, Any], out: Path, json: bool) -> None:
    from rich.console import Console

    from semtune.report.html import write_report
    from semtune.report.terminal import print_study

    print_study(record, Console(stderr=json))
    page = write_report(out)
    o.say(f"report: {page}")
    if json:
        o.print_json(record)


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in o.split_names(text) or ()]
    except ValueError as error:
        raise OptionError(f'--seeds must be whole numbers such as "0,1,2", not "{text}".') from error
