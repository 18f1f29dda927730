"""`semtune tune`: one run, from data to a run folder."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtune.cli import options as o
from semtune.cli.generate import with_options
from semtune.errors import OptionError
from semtune.records import LOCAL_MODEL_OPTIONS, CommonReadoutOptions, LowRankSettings, RunSpec, TaskOptions
from semtune.registry import TASKS
from semtune.runtime.imports import heavy_imports

if TYPE_CHECKING:
    from semtune.records import RunResult


@with_options(RunSpec, LowRankSettings, CommonReadoutOptions, TaskOptions)
def tune(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    values: Mapping[str, Any],
    given: tuple[str, ...],
    spec: Annotated[
        Path | None,
        typer.Option(
            help="Repeat a run from its spec.yaml; it decides all but --trust-remote-code and the options that follow."
        ),
    ] = None,
    fit: Annotated[
        bool, typer.Option(help="Where the run would not fit, let the plan change batch, checkpointing or precision.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the tuned model in --out.")] = False,
    json: o.Json = False,
) -> int:
    """Tune a model on a task, score it, and leave a run folder."""
    from semtune.specs import read_spec, spec_from
    from semtune.specs.trust import TRUST

    if spec is not None:
        _check_alone(given)
        run_spec = replace(read_spec(spec), trust_remote_code=values[TRUST])
    elif "task" not in values:
        raise OptionError("Give --task (see `semtune list tasks`), or --spec to repeat a run.")
    else:
        run_spec = spec_from(values, "the command line")
        if "preset" in values and "approach" in values:
            _check_preset(run_spec)
        if "approach" in values:
            _check_of_use(run_spec, given)
    repeats = None if spec is None else _earlier_result(spec)
    result = _run(run_spec, out, overwrite, fit=fit, file=str(spec or ""))
    if repeats is not None:
        _say_differences(repeats, result, run_spec)
    if json:
        from semtune.records import to_plain

        o.print_json(to_plain(result))
    return _print_result(result, run_spec, out, quiet=json)


def _earlier_result(spec: Path) -> RunResult | None:
    """The result of the run that `spec` belongs to, read before the new run may take its place."""
    with heavy_imports():
        from semtune.runs.repeated import earlier_result
    return earlier_result(spec)


def _say_differences(then: RunResult, now: RunResult, spec: RunSpec) -> None:
    """Say what a repeated run had that the first one had not."""
    from semtune.runs.repeated import differences

    changed = differences(then, now, spec)
    if changed:
        o.say(
            f"note: this run repeats {then.out} by its spec.yaml, but not its {' and '.join(changed)}, which "
            f"{'has' if len(changed) == 1 else 'have'} changed since: the two results do not compare"
        )


def _check_alone(given: tuple[str, ...]) -> None:
    """Raises OptionError for options beside --spec, which would not be used."""
    beside = [flag for flag in given if flag != "--trust-remote-code"]
    if beside:
        raise OptionError(
            f"--spec decides all options of the run, so {', '.join(beside)} would not be used; leave one of the two "
            "out, or change a copy of the file."
        )


def _check_preset(spec: RunSpec) -> None:
    """Raises OptionError for a preset of an approach that has no method."""
    from semtune.registry import APPROACHES

    with heavy_imports():
        uses = APPROACHES.get(spec.approach).uses
    if "method" not in uses:
        raise OptionError(f"A preset sets how a model is tuned; a {spec.approach} run tunes none, leave --preset out.")


def _check_of_use(spec: RunSpec, given: tuple[str, ...]) -> None:
    """Raises OptionError for options that have no effect on the chosen approach."""
    from semtune.registry import APPROACHES

    with heavy_imports():
        approach = APPROACHES.get(spec.approach)
    on_server = spec.endpoint is not None and "endpoint" in approach.uses
    ignored = approach.ignores | (LOCAL_MODEL_OPTIONS if on_server else frozenset())
    flags = {"--" + name.replace("_", "-").replace("-bytes", "-gb") for name in ignored}
    idle = [flag for flag in given if flag in flags]
    if idle:
        has = "has" if len(idle) == 1 else "have"
        what = f"the approach {spec.approach}" + (" with an endpoint" if on_server else "")
        raise OptionError(f"{', '.join(idle)} {has} no effect on {what}; leave it out.")


def _run(run_spec: RunSpec, out: Path, overwrite: bool, *, fit: bool, file: str) -> RunResult:
    """Run with a memory limit, so that a run that cannot fit fails with an allocation error of its own.

    `file`: the run's spec.yaml, for messages about its values; "": the run is from the command line.
    """
    from semtune.progress import RunBar
    from semtune.registry import APPROACHES
    from semtune.runs import identity
    from semtune.specs import resolve
    from semtune.specs.naming import naming
    from semtune.specs.presets import preset_remarks

    with heavy_imports(), naming(file):  # a method brings torch; what comes after it is slower still
        resolved = resolve(run_spec)
    for note in preset_remarks(resolved):
        o.say(f"note: {note}")
    if fit and "method" not in APPROACHES.get(resolved.approach).uses:
        raise OptionError(f"--fit changes how a model is tuned; a {resolved.approach} run tunes none, leave it out.")
    with naming(file):
        metric = TASKS.get(run_spec.task)(run_spec.task_options).metrics[0].title
    with RunBar(metric) as bar:
        bar.on_phase("starting", None)
        with heavy_imports():
            from semtune.runs.runner import run
        plan = None
        if fit:
            with heavy_imports():
                from semtune.measure.memory import resident_bytes
                from semtune.plan.requests import fit_to_memory
            bar.on_phase("planning", None)
            run_spec, plan, changed = fit_to_memory(resolved, resident_bytes())
            o.say(f"--fit changed {changed}")
        told = identity.told(out, resolved)
        result = run(run_spec, out, bar, overwrite=overwrite, plan=plan, bound_memory=True)
    for overlap in result.overlaps if told is None else ():
        o.say(f"note: {overlap.sentence()}")
    return result


def _print_result(result: RunResult, spec: RunSpec, out: Path, *, quiet: bool) -> int:
    """Print the result; returns the exit status: 0, 1 for a run that is not ok, 130 for an interrupted one."""
    if result.status != "ok":
        if result.out != out.resolve().name:
            o.say(f"the run in {out} is as it was; the new one is in {out / Path(str(result.out)).name}")
        o.say(f"semtune: {result.status.replace('_', ' ')}: {result.reason}")
        return 130 if result.status == "interrupted" else 1
    if not quiet:
        metrics = TASKS.get(spec.task)(spec.task_options).metrics
        for split, scores in result.scores.items():
            chosen = " (it also chose the epoch)" if split == result.selected_on else ""
            figures = [f"{metric.title} {scores.values[metric.name]:.4f}" for metric in metrics]
            o.show(f"{split}: {', '.join(figures)}{chosen}")
            if scores.parse_failures:
                o.say(f"note: {scores.parse_failures:.0%} of the answers to {split} could not be read as labels")
        for metric in metrics if result.scores else ():
            if metric.definition:
                o.show(f"{metric.title} is {metric.definition}")
        unscored = [p.stem.removeprefix("predictions-") for p in out.glob("predictions-*.json")]
        for split in sorted(set(unscored) - set(result.scores)):
            o.show(f"{split}: predicted; it lacks gold labels, so it cannot be scored")
        o.show(f'the run is in {out}; try: semtune predict {shlex.quote(str(out))} "some text"')
    return 0
