"""A job of `learning_rates.py`, in a worker process that has torch imported: one run through semtune's own parts.

A run of the choice is `runs.runner`'s without what a score does not need: no plan, no memory phases, no files. Its
score is that of the best epoch on the fold's dev part, as it is for a run's dev split. A run of the study is
`runs.runner.run` itself, whose weights are deleted afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.launch import scrub
from benchmarks.rates import CHOOSE, Job
from benchmarks.worker_pool import UNUSABLE


@dataclass(frozen=True)
class Setting:
    """What all jobs share."""

    task: str
    model: str
    device: str
    threads: int
    out: str
    """Folder for the study's run folders."""
    limit_examples: int | None = None
    """Of each split, for trying out; None: all."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of all runs, such as epochs."""
    plans: bool = False
    """Whether the study's runs plan themselves too, which takes longer than training on a GPU."""


def prepare(setting: Setting) -> Callable[[Job], Mapping[str, Any]]:
    """Import what every job needs, limit the threads, and return what does a job."""
    import torch

    import semtune.runs.runner  # noqa: F401 - now, so that no job's seconds have it
    from semtune.approaches.tuned import Tuned

    torch.set_num_threads(setting.threads)
    Tuned.plannable = setting.plans
    return functools.partial(do, setting)


def do(setting: Setting, job: Job) -> dict[str, Any]:
    """The job's figures; of one that failed the reason."""
    from semtune.errors import SemtuneError

    started = time.perf_counter()
    try:
        with _watched_memory() as peak:
            found = (_choose if job.section == CHOOSE else _study)(setting, job)
    except SemtuneError as error:
        found = {"error": scrub(f"{type(error).__name__}: {error}")}
    except Exception as error:  # noqa: BLE001 - a job that fails is a row, whatever it raises
        # A CUDA error leaves the process's context broken; other surprises may leave memory behind.
        found = {"error": scrub(f"{type(error).__name__}: {error}"), UNUSABLE: True}
    seconds = round(time.perf_counter() - started, 3)
    return {**found, "device": device_of(setting), "wall_seconds": seconds, "device_peak_bytes": peak()}


def spec_of(setting: Setting, job: Job) -> Any:
    """The job's resolved RunSpec: the method's own defaults but for the learning rate."""
    from semtune.specs import resolve, spec_from

    values = {
        "task": setting.task, "model": setting.model, "method": job.method, "seed": job.seed, "fold": job.fold,
        "device": setting.device, "threads": setting.threads, "method_options": {"learning_rate": job.rate},
    }  # fmt: skip
    return resolve(spec_from({**setting.options, **values}, "the bench's options"))


def device_of(setting: Setting) -> str:
    """The kind of device that the jobs run on: "cpu", "cuda", "mps"."""
    from semtune.models.devices import resolve_device

    return str(resolve_device(setting.device).type)


def _choose(setting: Setting, job: Job) -> dict[str, Any]:
    from semtune.approaches.tuned import Tuned
    from semtune.contracts import TaskContext
    from semtune.runs.data import load_data

    class Scored(Tuned):
        """Ends with the last epoch's weights, as nothing is predicted with the best ones."""

        def restore(self, folder: Path) -> None:
            pass

    spec = spec_of(setting, job)
    data = _limited(load_data(spec), setting.limit_examples)
    approach = Scored(spec, TaskContext.of(data.task))
    approach.prepare(lambda text: None)
    started = time.perf_counter()
    approach.load()
    loaded = time.perf_counter()
    watch = _ScoreWatch(data, approach.device)
    approach.fit(data.train, data.dev, watch)
    return {
        "score": max(watch.scores, key=data.task.metrics[0].rank),
        "epoch_scores": watch.scores,
        "train_examples": len(data.train), "dev_examples": len(data.dev), "steps": approach.fit_figures.steps,
        "load_seconds": round(loaded - started, 3), "fit_seconds": round(time.perf_counter() - loaded, 3),
    }  # fmt: skip


def _study(setting: Setting, job: Job) -> dict[str, Any]:
    from semtune.progress import NoProgress
    from semtune.runs import runner
    from semtune.runs.data import load_data

    runner.load_data = lambda spec: _limited(load_data(spec), setting.limit_examples)
    folder = Path(setting.out) / f"{job.method}-s{job.seed}"
    result = runner.run(spec_of(setting, job), folder, NoProgress(), overwrite=True)
    for weights in ("adapter", "checkpoints"):
        shutil.rmtree(folder / weights, ignore_errors=True)
    figures = (
        "trainable_parameters", "total_parameters", "best_epoch", "tokens_per_second", "seconds_per_iteration",
        "load_seconds", "train_seconds", "predict_seconds", "peak_bytes", "predicted_peak_bytes",
        "predicted_seconds_per_iteration", "notes",
    )  # fmt: skip
    found: dict[str, Any] = {name: getattr(result, name) for name in figures}
    if result.status != "ok":
        return {"error": scrub(f"{result.status}: {result.reason}")}
    return {**found, "scores": {split: dict(scores.values) for split, scores in result.scores.items()}}


class _ScoreWatch:
    """`contracts.FitWatch` that notes every epoch's dev score and keeps no weights."""

    def __init__(self, data: Any, device: str) -> None:
        from semtune.measure.clock import synchronised_seconds
        from semtune.progress import NoProgress

        self._data = data
        self.observers: Sequence[Any] = [NoProgress()]
        self.clock = functools.partial(synchronised_seconds, device)
        self.metrics_file = Path(os.devnull)
        self.scores: list[float] = []
        """One an epoch."""

    def on_tokenized(self) -> None:
        pass

    def score_dev(self, predict_dev: Callable[[], Sequence[Any]]) -> float:
        from semtune.runs.finite import check_predictions, finite_scores

        scores = self._data.task.score(self._data.dev, check_predictions(predict_dev()))
        self.scores.append(finite_scores(scores, "dev").value)
        return self.scores[-1]

    def choose_threshold(self, examples: Sequence[Any], probabilities: Any) -> float:
        return float(self._data.task.best_threshold(examples, probabilities))

    def keep(self, save: Callable[[Path], None]) -> Path:
        return Path(os.devnull)


def _limited(data: Any, count: int | None) -> Any:
    """`data` with at most `count` examples of each split."""
    final = {split: examples[:count] for split, examples in data.final.items()}
    return replace(data, train=data.train[:count], dev=data.dev[:count], final=final)


@contextlib.contextmanager
def _watched_memory() -> Iterator[Callable[[], int | None]]:
    """Free what the job before has left; gives the peak of the CUDA allocator within, None without CUDA."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        yield torch.cuda.max_memory_allocated
    else:
        yield lambda: None
