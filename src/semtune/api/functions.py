"""`semtune.tune`, `load`, `plan` and `study`: the commands of the same names, called from Python."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from semtune.api.own_data import (
    DataFolder,
    TaskOrData,
    Texts,
    check_data_given_once,
    is_in_memory,
    task_values,
)
from semtune.api.run import Run, caller_state_kept, observer, temporary_folder
from semtune.api.run_options import run_spec, split_task_options
from semtune.api.study import Study
from semtune.api.wording import in_python, spoken_python
from semtune.errors import (
    DivergedError,
    DoesNotFitError,
    OptionError,
    OutOfMemoryError,
    SemtuneError,
)
from semtune.records import Plan, RunResult, RunSpec
from semtune.registry import TASKS
from semtune.runtime.files import expanded
from semtune.runtime.streams import forgiving, printable

if TYPE_CHECKING:
    from semtune.plan.requests import PlanResult

_FAILURES: Mapping[str, type[SemtuneError]] = {
    "does_not_fit": DoesNotFitError,
    "out_of_memory": OutOfMemoryError,
    "diverged": DivergedError,
}
"""Status of a run that ended without a result -> the exception that `tune` raises for it."""


def tune(
    task_or_data: TaskOrData,
    /,
    *,
    dev: Texts | None = None,
    test: Texts | None = None,
    model: str = "default",
    method: str = "lora",
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    fit: bool = False,
    planned: bool = True,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Tune a model, score it, and return the run.

    Everything happens in this process, so the reported memory includes all that the process has allocated; `study`
    gives each run a process of its own. An interruption (Ctrl-C, a notebook's stop button) ends the training, warns,
    and returns the run with the best weights so far.

    Args:
        task_or_data: a task's name (`semtune list tasks`); a CSV, TSV, JSON, JSON lines or Parquet file, a folder of
            split files or "hub:owner/name"; a pandas DataFrame or datasets.Dataset; a tuple `(texts, labels)`, the
            labels being one value a text (one label) or one list a text (a set of labels); or a dict of splits of such
            kinds. What is in memory is written to `out/data`, so that `spec.yaml` can be run again.
        dev: the split that chooses the epoch; None: a tenth of the training texts (`dev_fraction`).
        test: the split that is predicted at the end, with or without labels; None: a fifth of the training texts
            (`test_fraction`, 0 for none).
        model: default, a hub id, a folder, a .gguf file, or shape:NAME.
        method: how weights are changed: `semtune list methods`.
        out: the run folder. None: a temporary folder that lives as long as the returned object; pickle the run or copy
            `run.folder` to keep it.
        overwrite: replace the tuned model in `out`, once the new one has ended well; else the new one is in
            `out/successor`.
        fit: where the run would not fit in memory, let the plan change batch size, checkpointing or precision.
        planned: record the plan's memory and time beside those measured. False saves some seconds; a run that might
            not fit is planned all the same.
        progress: show a bar on a terminal or in a notebook.
        options: any other option of `semtune tune` by its name, e.g. `rank=8, epochs=2, text_column="comment"`.

    Raises:
        SemtuneError: an unknown or impossible option, data or a model that cannot be used (nothing was trained), or a
            run that does not fit, ran out of memory or diverged (its record is in `out`).
        KeyboardInterrupt: interrupted before any weights were kept.
    """
    folder = temporary_folder() if out is None else expanded(out)
    data = DataFolder(folder)
    try:
        values = {"model": model, "method": method, **options}
        with spoken_python(data.path):
            spec = run_spec(task_or_data, dev, test, values, data, "semtune.tune()")
            result = _run(spec, folder, overwrite=overwrite, fit=fit, planned=planned, progress=progress)
    except BaseException:
        _discard(data, temporary=out is None)
        raise
    replaced = result.out == folder.resolve().name
    if replaced:
        source = spec.task_options
        data.keep_only((source.data, source.dev_data, source.test_data))
    place = folder if replaced else folder / Path(str(result.out)).name
    run = Run(place, progress=progress, trust_remote_code=spec.trust_remote_code)
    if out is None:
        run.keep_with(folder)
    return _ended(run, result)


def load(run: str | os.PathLike[str], *, progress: bool = True, trust_remote_code: bool = False) -> Run:
    """The run in a folder that `semtune tune` or `semtune.tune` wrote.

    Args:
        trust_remote_code: whether code that comes with the base model may run; the folder has no say in it.

    Raises ModelError.
    """
    return Run(run, progress=progress, trust_remote_code=trust_remote_code)


def plan(
    model: str = "default",
    *,
    task: TaskOrData | None = None,
    device: str = "auto",
    method: str | Sequence[str] | None = None,
    calibrate: bool = False,
    **options: Any,
) -> PlanResult:
    """What fits, how long it takes, what to change: for every method, without downloading weights.

    Args:
        model: as for `tune`.
        task: whose texts are measured, in the forms that `tune` accepts; None: the practice texts, or, where
            `max_length` is given, texts of that many tokens.
        device: auto (this machine), a size ("12GB"), a size with main memory to spill into ("12GB+32GB"), a card.
        method: one or several; None: all.
        calibrate: measure this machine for 10 s first, and remember it.
        options: any other option of `semtune plan` by its name.

    Returns:
        `.plans` (one a method: fits, peak_bytes by phase, seconds_per_iteration, advice), `.device`, `.assumptions`.

    Raises:
        SemtuneError: an unknown option, device, model or method, or data that cannot be used.
    """
    import torch

    from semtune.measure.machine import default_threads
    from semtune.measure.memory import resident_bytes
    from semtune.plan.requests import load_data, plan_methods
    from semtune.registry import METHODS

    runtime_bytes = resident_bytes()
    methods = [method] if isinstance(method, str) else list(METHODS if method is None else method)
    with tempfile.TemporaryDirectory(prefix="semtune-plan-") as temporary, caller_state_kept():
        written = DataFolder(Path(temporary))
        with spoken_python(written.path):
            data: TaskOrData = "practice" if task is None else task
            spec = run_spec(data, None, None, {"model": model, **options}, written, "semtune.plan()")
            torch.set_num_threads(spec.threads or default_threads())
            known = load_data(spec, texts=task is not None or options.get("max_length") is None)
            return plan_methods(spec, methods, device, known, calibrate=calibrate, runtime_bytes=runtime_bytes)


def study(
    task_or_data: TaskOrData,
    /,
    *,
    dev: Texts | None = None,
    test: Texts | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **options: Any,
) -> Study:
    """Run a grid of methods, models, prompts, readouts and seeds, each in a process of its own, and compare them.

    Args:
        task_or_data: as for `tune`, or the path of a study file (.yaml), whose keys `options` override.
        dev, test: as for `tune`.
        out: the study folder; the runs that an earlier call finished there are kept. None: a temporary folder that
            lives as long as the returned object.
        progress: say which run is under way; each run draws its own bar on a terminal.
        options: any key of a study file, e.g. `methods=["lora", "dora"], seeds=[0, 1], epochs=2,
            overrides={"dora": {"rank": 4}}`, and any option of the task.

    Raises:
        SemtuneError: an unknown key, data or `out` that cannot be used. A run that fails is a row of the tables.
        KeyboardInterrupt: interrupted; what had finished is in `out`, and the same call goes on from there.
    """
    from semtune.registry import LAUNCHERS
    from semtune.specs.trust import TRUST
    from semtune.study.grid import study_from
    from semtune.study.study import run_study

    folder = temporary_folder() if out is None else expanded(out)
    data = DataFolder(folder)
    try:
        with spoken_python(data.path):
            values, where = _study_values(task_or_data, dev, test, options, data)
            spec = study_from(values, where, from_file=_is_study_file(task_or_data))
            say = (
                (lambda text: print(printable(text), file=forgiving(sys.stderr), flush=True))
                if progress
                else (lambda text: None)
            )
            launcher = LAUNCHERS.get(spec.launcher)(spec.parallel)
            run_study(spec, folder, _as_typed(task_or_data, options), launcher, say, parallel=spec.parallel)
    except BaseException:
        _discard(data, temporary=out is None)
        raise
    found = Study(folder, trust_remote_code=bool(spec.shared.get(TRUST)))
    if out is None:
        found.keep_with(folder)
    return found


def _study_values(
    task_or_data: TaskOrData, dev: Texts | None, test: Texts | None, options: Mapping[str, Any], data: DataFolder
) -> tuple[dict[str, Any], str]:
    """The plain values of a study, options above those of a file, and what messages call them. Raises SemtuneError."""
    from semtune.specs import read_yaml
    from semtune.specs.trust import refuse_trust
    from semtune.study.grid import AXES, overridden

    task_options, given = split_task_options(options)
    if not _is_study_file(task_or_data):
        where = "semtune.study()"
        check_data_given_once(given, where)
        values = task_values(task_or_data, dev, test, task_options, data)
        return {**values, "task_options": dataclasses.asdict(values["task_options"]), **given}, where
    if dev is not None or test is not None:
        raise OptionError("The study file says what the data are; leave out dev= and test=.")
    name = os.fspath(task_or_data)
    axis_of = {single: axis for axis, single in AXES.items()}
    above = {axis_of.get(key, key): value for key, value in given.items()}
    file = refuse_trust(read_yaml(expanded(name)), name)
    where = f"{name} (with the options given)" if options else name
    return overridden(file, {**above, "task_options": task_options}, name), where


def _run(spec: RunSpec, folder: Path, *, overwrite: bool, fit: bool, planned: bool, progress: bool) -> RunResult:
    from semtune.specs import resolve

    title = TASKS.get(spec.task)(spec.task_options).metrics[0].title
    wording = functools.partial(in_python, data_folder=DataFolder(folder).path)
    with observer(progress, title, wording) as watch, caller_state_kept():
        watch.on_phase("starting", None)
        from semtune.measure.memory import resident_bytes
        from semtune.plan.requests import fit_to_memory, load_data
        from semtune.plan.upper_bound import upper_bound_fits
        from semtune.runs.runner import run

        known_plan = None
        if not planned and upper_bound_fits(resolve(spec), load_data(spec, texts=True)):
            known_plan = Plan(spec.method, fits=True)
        if fit:
            watch.on_phase("planning", None)
            spec, known_plan, changed = fit_to_memory(resolve(spec), resident_bytes())
            watch.say(f"fit changed {changed}")
        return run(spec, folder, watch, overwrite=overwrite, plan=known_plan)


def _ended(run: Run, result: RunResult) -> Run:
    """`run`, if it finished, or was interrupted after weights were saved. Raises SemtuneError, KeyboardInterrupt."""
    if result.status == "ok":
        return run
    if result.status in _FAILURES:
        raise _FAILURES[result.status](f"The run did not end well: {result.reason}.")
    if not run.kept:
        raise KeyboardInterrupt
    warnings.warn(f"The run ended early: {result.reason}.", RuntimeWarning, stacklevel=3)
    return run


def _discard(data: DataFolder, *, temporary: bool) -> None:
    """Remove the files that were written for a run that failed to start: the data, or the whole temporary folder."""
    if temporary:
        shutil.rmtree(data.owner, ignore_errors=True)
    else:
        data.discard()


def _is_study_file(value: Any) -> TypeGuard[str | os.PathLike[str]]:
    return not is_in_memory(value) and Path(value).suffix.lower() in (".yaml", ".yml")


def _as_typed(data: Any, options: Mapping[str, Any]) -> str:
    """The Python call as text, for the study's record; in-memory data appear as their type's name."""
    first = f"<{type(data).__name__}>" if is_in_memory(data) else repr(os.fspath(data))
    return f"semtune.study({', '.join([first, *(f'{name}={value!r}' for name, value in options.items())])})"
