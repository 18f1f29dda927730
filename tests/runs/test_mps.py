"""Apple's GPU, which no test machine has: what is decided before it is used, and that no fp64 reaches it.

It has no fp64: torch refuses such tensors there. A whole run is made on the CPU with the compiled loops off, as there,
and every operation is watched.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semtune.errors import OptionError
from semtune.measure.machine import native_bf16
from semtune.measure.memory import PhaseMeter
from semtune.models.devices import resolve_device
from semtune.models.loading import compute_dtype
from semtune.nn import kernels
from semtune.plan import requests
from semtune.plan.devices import parse_device
from semtune.records import Plan, RunSpec, TaskOptions
from semtune.runs.runner import run
from semtune.specs import resolve, spec_from
from semtune.training import masters, wide

from .test_runner import Silent

ON_CPU = ("readouts/loglikelihood.py",)
"""Files whose fp64 is computed on the CPU wherever the model is: the scores have been moved there."""


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.mps.driver_allocated_memory", lambda: 7_000_000_000)


class NoDouble(TorchDispatchMode):
    """Notes the place of every operation that makes a tensor of fp64."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = out if isinstance(out, (tuple, list)) else (out,)
        if any(isinstance(x, torch.Tensor) and x.dtype == torch.float64 for x in made):
            frames = [f for f in traceback.extract_stack() if "/semtune/" in f.filename and "/tests/" not in f.filename]
            place = frames[-1] if frames else traceback.extract_stack()[-2]
            if not place.filename.endswith(ON_CPU):
                self.places.add(f"{place.filename}:{place.lineno} {func}")
        return out


@pytest.mark.parametrize(
    ("method", "readout", "optimizer"),
    [
        ("lora", "head", "adamw"),
        ("full", "generate", "adamw"),
        ("qlora", "generate-constrained", "adamw"),
        ("dora", "loglikelihood", "adamw-8bit"),
        ("mam", "head", "adafactor"),
        ("qa-lora", "head", "lion"),
        ("lora", "head", "mezo"),
    ],
)
def test_a_run_forms_no_fp64(
    method: str,
    readout: str,
    optimizer: str,
    tiny_model: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "_IS_LOADED", False)
    for module in (wide, masters):
        monkeypatch.setattr(module, "wide_dtype", lambda device: torch.float32)
    monkeypatch.setattr("semtune.training.optimizer.wide_dtype", lambda device: torch.float32)
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    values = {"task": "table", "model": str(tiny_model), "epochs": 1, "method": method, "readout": readout}
    spec = spec_from({**values, "optimizer": optimizer, "task_options": options}, "the test")
    with NoDouble() as watched:
        result = run(resolve(spec), tmp_path / "run", Silent(), plan=Plan(method, fits=True))  # plans run elsewhere
    assert result.status == "ok", result.reason
    assert watched.places == set()


def test_fp64_elsewhere_and_fp32_there() -> None:
    assert wide.wide_dtype(torch.device("mps")) == torch.float32
    assert wide.wide_dtype(torch.device("cpu")) == wide.wide_dtype(torch.device("cuda")) == torch.float64
    assert wide.wide(torch.ones(2)).dtype == torch.float64


def test_a_machine_without_it_says_so() -> None:
    with pytest.raises(OptionError, match=r"no Apple GPU.*--device cpu"):
        resolve_device("mps")


@pytest.mark.usefixtures("apple")
def test_it_is_used_only_where_it_is_named() -> None:
    assert resolve_device("mps").type == "mps"
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(OptionError, match="1 of the kind"):
        resolve_device("mps:1")


def test_precision() -> None:
    device = torch.device("mps")
    assert not native_bf16("mps")
    assert compute_dtype("nf4", device) == torch.float32
    assert compute_dtype("bf16", device) == torch.bfloat16
    with pytest.raises(OptionError, match="no fp64"):
        compute_dtype("fp64", device)


@pytest.mark.usefixtures("apple")
def test_memory_is_the_process_and_what_metal_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semtune.measure.memory.kernel_mark_works", lambda: False)
    meter = PhaseMeter("mps:0")
    with meter.phase("load"):
        pass
    assert 7_000_000_000 < meter.peak_bytes["load"] < 60_000_000_000


@pytest.mark.usefixtures("apple")
def test_a_plan_for_it_counts_as_on_a_cpu_and_has_no_seconds(tiny_model: Path) -> None:
    local = requests.local_device("mps")
    assert (local.kind, parse_device("mps", local)) == ("mps", local)
    assert requests.rates_for(local, calibrate=False) == (None, [])
    spec = resolve(RunSpec("practice", model=str(tiny_model), device="mps", method_options={"precision": "fp32"}))
    _, plan = requests.plan_run(spec, requests.Data(), 0)
    _, on_cpu = requests.plan_run(
        resolve(RunSpec("practice", model=str(tiny_model), method_options={"precision": "fp32"})), requests.Data(), 0
    )
    assert plan.seconds_per_iteration is None
    assert plan.peak_bytes == pytest.approx(on_cpu.peak_bytes, rel=0.05)


def test_a_plan_for_the_cpu_is_one_though_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    card = {"name": "a card", "memory_bytes": 1 << 33, "native_bf16": True}
    monkeypatch.setattr(requests, "gpus", lambda: [card])
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (1 << 33, 1 << 33))
    assert requests.local_device().kind == requests.local_device("cuda:0").kind == "cuda"
    assert requests.local_device("cpu").kind == "cpu"
