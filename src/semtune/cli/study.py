"""`semtune study`: several ways of tuning side by side."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from semtune.cli import options as o
from semtune.cli.generate import split_names, split_quoted, with_options
from semtune.errors import OptionError
from semtune.records import CommonReadoutOptions, LowRankSettings, RunSpec, TaskOptions

VARIED = (
    "model",
    "method",
    "prompt",
    "readout",
    "seed",
    "fold",
    "approach",
    "strategy",
    "baseline",
)
"""Fields of a RunSpec that a study varies, or that its rows decide."""


@with_options(RunSpec, LowRankSettings, CommonReadoutOptions, TaskOptions, exclude=VARIED, defaults=False)
def study(
    values: Mapping[str, Any],
    file: Annotated[Path | None, typer.Argument(help="A study file, such as studies/demo.yaml.")] = None,
    out: Annotated[Path, typer.Option(help="The study folder to write.")] = Path("studies-out/study"),
    model: Annotated[str | None, typer.Option(help="The model or models, comma separated.")] = None,
    methods: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list methods`.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list prompts`.")] = None,
    readouts: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list readouts`.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Comma separated whole numbers.")] = None,
    strategies: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list strategies`.")] = None,
    answers: Annotated[
        str | None,
        typer.Option(help="Ways of answering of the strategies, comma separated: see `semtune list answers`."),
    ] = None,
    baselines: Annotated[str | None, typer.Option(help="Comma separated: see `semtune list baselines`.")] = None,
    endpoint_models: Annotated[
        str | None, typer.Option(help="The server's names of models that strategies ask (--endpoint), comma separated.")
    ] = None,
    launcher: Annotated[str | None, typer.Option(help="Who starts the runs: see `semtune list launchers`.")] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Runs under way at once; they share the machine, so speeds do not compare.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,VALUE",
            help="Compare these values of an option for every row, by cross-validation on train and dev, and run with "
            "the best; may be given again for another option.",
        ),
    ] = None,
    sweep_folds: Annotated[int | None, typer.Option(help="Folds of that cross-validation (default 3).")] = None,
    json: o.Json = False,
) -> int:
    """Run a grid of methods, models, prompts, readouts and seeds, and compare them. Options override the file."""
    from semtune.models.sources.wheel_models import check_terms
    from semtune.registry import LAUNCHERS
    from semtune.specs import read_yaml
    from semtune.specs.naming import naming_flags
    from semtune.specs.trust import refuse_trust
    from semtune.study.grid import AXES, overridden, study_from
    from semtune.study.study import run_study

    if file is None and "task" not in values:
        raise OptionError("Give a study file, or at least --task.")
    base = refuse_trust(read_yaml(file), str(file)) if file is not None else {}
    lists = {
        "models": model, "methods": methods, "prompts": prompts, "readouts": readouts, "strategies": strategies,
        "answers": answers, "baselines": baselines, "endpoint_models": endpoint_models,
    }  # fmt: skip
    axes: dict[str, Any] = {key: list(split_names(text)) for key, text in lists.items() if text is not None}
    if seeds is not None:
        axes["seeds"] = _whole_numbers(seeds)
    own = {"launcher": launcher, "parallel": parallel, "sweep_folds": sweep_folds}
    axes |= {key: value for key, value in own.items() if value is not None}
    if sweep:
        axes["sweep"] = _swept(sweep)
    where = str(file or "the command line")
    whole = overridden(base, {**axes, **values}, where)
    where += " (with the options given)" if file is not None and (axes or values) else ""
    command = shlex.join(["semtune", *sys.argv[1:]])
    single = [AXES[axis] for axis in axes if axis in AXES]
    with naming_flags({*axes, *single, *values, *values.get("task_options", ())}):
        spec = study_from(whole, where, from_file=file is not None)
        for name in spec.models:  # here, as the runs' processes cannot ask
            check_terms(name)
        starter = LAUNCHERS.get(spec.launcher)(spec.parallel)
        record = run_study(spec, out, command, starter, o.say, parallel=spec.parallel)
    _show(record, out, json)
    ended_well = all(run.get("status", "ok") == "ok" for run in (*record["runs"], *record["baselines"]))
    return 0 if ended_well else 1


def _show(record: dict[str, Any], out: Path, json: bool) -> None:
    from rich.console import Console

    from semtune.report.html import write_report
    from semtune.report.terminal import print_study

    page = write_report(out)  # before anything is printed, which can fail
    print_study(record, Console(stderr=json))
    o.say(f"report: {page}")
    if json:
        o.print_json(record)


def _swept(given: list[str]) -> dict[str, list[str]]:
    """["rank=8,16"] -> {"rank": ["8", "16"]}. Raises OptionError."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        key = name.strip().replace("-", "_")
        if not equals or not key:
            raise OptionError(
                f'--sweep must have the form NAME=VALUE,VALUE, such as --sweep learning_rate=1e-4,1e-3, not "{text}".'
            )
        if key in found:
            raise OptionError(f"--sweep names {key} twice; give all its values in one of them.")
        found[key] = list(split_quoted(values, "--sweep"))
    return found


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in split_names(text)]
    except ValueError as error:
        raise OptionError(f'--seeds must be whole numbers such as "0,1,2", not "{text}".') from error
