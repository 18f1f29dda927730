"""Made-up studies, as `study.json` holds them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LABELS = ("Loaded Language", "Doubt", "Slogans")
ENVIRONMENT = {
    "python": "3.11.7",
    "platform": "Linux 6.1 x86_64",
    "cpu": "A <fast> processor",
    "cores": 2,
    "threads": 2,
    "native_bf16": True,
    "total_memory_bytes": 25_276_518_400,
    "cuda": None,
    "gpus": [],
    "packages": {"semtune": "0.1.0", "torch": "2.13.0"},
}
GB = 1_000_000_000


def scores(micro: float, macro: float = 0.3, failures: float = 0.0, labels: tuple[str, ...] = LABELS) -> dict[str, Any]:
    """One split's scores; each label's F1 is `micro`."""
    per_label = {
        label: {"precision": micro, "recall": micro, "f1": micro, "support": 10 * (i + 1)}
        for i, label in enumerate(labels)
    }
    return {
        "micro_f1": micro,
        "macro_f1": macro,
        "parse_failures": failures,
        "per_label": per_label,
        "examples": 60,
    }


def run(method: str = "lora", test: float | None = 0.6, dev: float = 0.65, **changes: Any) -> dict[str, Any]:
    """One run that ended well; `test` None: the test split is not scored."""
    by_split = {"dev": scores(dev)} | ({"test": scores(test)} if test is not None else {})
    result = {
        "task": "practice", "model": "default", "method": method, "prompt": "report", "readout": "head",
        "preset": "default", "seed": 0, "status": "ok", "reason": None,
        "trainable_parameters": 4_884_480, "total_parameters": 139_399_488, "epochs_trained": 2, "best_epoch": 2,
        "selected_on": "dev", "seconds_per_iteration": 0.5176, "seconds_per_epoch": 23.71, "tokens_per_second": 580.5,
        "load_seconds": 1.88, "train_seconds": 47.97, "predict_seconds": 5.29, "predict_examples_per_second": 22.7,
        "runtime_bytes": 398_159_872,
        "peak_bytes": {"load": 714_297_344, "train": 2_746_912_768, "evaluate": 1_765_449_728},
        "scores": by_split, "notes": ["practice data"],
    } | changes  # fmt: skip
    return {"out": f"{result['method']}-{result['readout']}-{result['prompt']}-s{result['seed']}"} | result


def lost(method: str, status: str, reason: str | None, **changes: Any) -> dict[str, Any]:
    """One run that did not end well: nothing was measured."""
    nothing = dict.fromkeys(
        ("seconds_per_iteration", "seconds_per_epoch", "tokens_per_second", "train_seconds", "predict_seconds",
         "predict_examples_per_second", "trainable_parameters")
    )  # fmt: skip
    return run(method, status=status, reason=reason, scores={}, peak_bytes={}, **nothing, **changes)


def study(runs: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A study of these runs with two baselines."""
    return {
        "format": 1, "task": "practice", "answer": "label_set", "labels": list(LABELS),
        "task_notes": ["practice data"], "command": "semtune study studies/demo.yaml --out studies-out/demo",
        "spec": {"task": "practice", "methods": ["full", "lora"]}, "environment": ENVIRONMENT, "runs": runs,
        "baselines": [
            {"name": "top-3", "scores": {"dev": scores(0.45), "test": scores(0.44)}, "note": None},
            {"name": "random", "scores": {}, "note": "it needs a task with sets of labels"},
        ],
        "leaderboard": [], "unlabelled_splits": [],
    } | changes  # fmt: skip


@pytest.fixture
def mixed() -> dict[str, Any]:
    """Four methods: two ended well, one does not fit, one diverged."""
    peak = {"load": GB, "train": 3 * GB, "evaluate": 2 * GB}
    return study(
        [
            lost("full", "out_of_memory", "needed more memory than this machine has free (12.3 GB)"),
            run("lora", test=0.652, dev=0.686),
            run("qlora", test=0.601, dev=0.7, tokens_per_second=300.4, seconds_per_iteration=1.25, peak_bytes=peak),
            lost("dora", "diverged", "the loss became NaN at step 7."),
        ]
    )


def unlabelled() -> dict[str, Any]:
    """A shared task whose test split has no gold labels, with a leaderboard."""
    bases = [{"name": "top-3", "scores": {"dev": scores(0.45)}, "note": None}]
    board = [{"team": "A", "micro_f1": 0.593, "macro_f1": 0.29}, {"team": "B", "micro_f1": 0.4, "macro_f1": 0.2}]
    runs = [run("lora", test=None, dev=0.5), run("qlora", test=None, dev=0.55)]
    return study(runs, baselines=bases, leaderboard=board, unlabelled_splits=["test"])


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a study to a folder, with metrics of its runs."""

    def write(record: dict[str, Any]) -> Path:
        folder = tmp_path / "study"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.json").write_text(json.dumps(record), encoding="utf-8")
        draw = random.Random(0)
        for result in record["runs"]:
            if result["status"] == "out_of_memory":
                continue
            lines = []
            for epoch in (1, 2):
                for step in range(1, 31):
                    loss = 5 / (epoch * 30 + step) * 10 + draw.random()
                    lines.append({"kind": "step", "step": (epoch - 1) * 30 + step, "epoch": epoch, "loss": loss})
                lines.append({"kind": "epoch", "epoch": epoch, "dev_micro_f1": 0.2 + epoch / 5 + draw.random() / 10})
            (folder / result["out"]).mkdir(exist_ok=True)
            text = "\n".join(json.dumps(line) for line in lines) + '\n{"kind": "st'
            (folder / result["out"] / "metrics.jsonl").write_text(text, encoding="utf-8")
        return folder

    return write
