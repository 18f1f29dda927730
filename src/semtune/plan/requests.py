"""Plans of runs, for `semtune plan`, `tune --fit` and the guard before every run."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence

import torch

from semtune.approaches.tuned_model import TunedModel
from semtune.contracts import Readout, Task
from semtune.errors import DataError, MethodRefusesError, OptionError, TargetError
from semtune.measure.machine import available_memory_bytes, cores, gpus, native_bf16, total_memory_bytes
from semtune.measure.memory import resident_bytes
from semtune.models.locate import conversion_bytes, locate_config, planning_tokenizer, stored_dtype
from semtune.plan import advice, speed, workload
from semtune.plan.devices import CUDA_CONTEXT_BYTES, Device, parse_device
from semtune.plan.phases import Workload
from semtune.plan.planner import Planner, PlanRequest
from semtune.records import Example, Plan, RunSpec, TargetSpace
from semtune.registry import METHODS, TASKS
from semtune.runtime.cache import cache_folder
from semtune.runtime.processor import instruction_level
from semtune.specs import resolve, with_changes, with_method
from semtune.specs.serves import check_combination
from semtune.specs.settings import METHOD, check_shared_options

RATES_FILE, QUICK_RATES_FILE = "machine-rates-{}-{}.json", "machine-rates-quick-{}-{}.json"
"""Names of the files with this machine's rates at a level of instructions with a number of threads."""
QUICK_MAX_AGE_SECONDS = 24 * 3600.0
BUSY_SHARE = 0.6
"""Load average per core from which a quick look at the machine is not written to the cache."""
BUSY_MAX_AGE_SECONDS = 600.0
"""How long such a look serves the process that took it."""
QUICK_SECONDS, CALIBRATION_SECONDS = 0.6, 10.0
"""Seconds of calibration: by a plan on a machine without stored rates, and with `--calibrate`."""
_busy_looks: dict[tuple[str, int], tuple[float, speed.Rates, str]] = {}
"""(level of instructions, threads) -> the last quick look of this process at a busy machine: when, rates, note."""


@dataclasses.dataclass(frozen=True)
class Data:
    """The data to plan for. `train` None: every text has `max_length` tokens."""

    space: TargetSpace = workload.SPACE
    train: Sequence[Example] | None = None
    predicted: Sequence[Example] = ()
    """Examples that the run predicts."""
    notes: tuple[str, ...] = ()
    """What a user should know of the data, as a run says it."""


@dataclasses.dataclass(frozen=True)
class PlanResult:
    """Plans, the device that they are for, and the assumptions behind them."""

    plans: tuple[Plan, ...]
    device: Device
    assumptions: tuple[str, ...]


def load_data(spec: RunSpec, *, texts: bool) -> Data:
    """The data of the task of `spec`; without `texts` nothing is read. Only the train split needs labels.

    Raises DataError, UnknownNameError.
    """
    if not texts:
        return Data()
    task: Task = TASKS.get(spec.task)(spec.task_options)
    train = [e for e in task.load("train") if e.target is not None]
    if not train:
        raise DataError(f"The train split of {spec.task} has no labelled text; training needs some.")
    predicted = [e for split in ("dev", "test") for e in task.load(split)]
    return Data(TargetSpace(task.target_kind, task.labels), train, predicted, task.data_notes)


def local_device(device: str = "auto") -> Device:
    """This machine's device that a run with `device` uses: a GPU, or the free part of the main memory.

    What this machine does not have, such as a card's name or a size, gives the device "auto".
    """
    kind = device.partition(":")[0]
    cards = gpus() if kind not in ("cpu", "mps") else []
    if cards:
        first = cards[0]
        free, _ = torch.cuda.mem_get_info()  # mem_get_info creates the CUDA context, which a plan counts itself
        return Device(
            str(first["name"]),
            "cuda",
            int(free) + CUDA_CONTEXT_BYTES,
            spill_bytes=available_memory_bytes(),
            native_bf16=bool(first["native_bf16"]),
        )
    free = available_memory_bytes() + resident_bytes()
    if kind == "mps" and torch.backends.mps.is_available():
        return Device("this machine's Apple GPU", "mps", free, native_bf16=native_bf16("mps"))
    return Device("this machine", "cpu", free, native_bf16=native_bf16())


def plan_methods(
    spec: RunSpec, methods: Sequence[str], device: str, data: Data, *, calibrate: bool = False, runtime_bytes: int
) -> PlanResult:
    """Plan each of `methods`, with advice for those that do not fit.

    Args:
        spec: unresolved; its method is replaced by each of `methods`. Where there are several, each gets those of the
            method options that it has.
        runtime_bytes: resident bytes of a process after its imports.

    Raises:
        SemtuneError: an unknown device or model, or a single method that cannot attach to the model.
    """
    for name in methods:
        METHODS.check(name)
    check_shared_options(METHOD, spec.method_options, methods)
    for name in methods:  # an impossible value is no method's reason, and needs no plan to be seen
        with contextlib.suppress(*([MethodRefusesError] if len(methods) > 1 else [])):
            resolve(with_method(spec, name, shared=len(methods) > 1))
    target = parse_device(device, local_device(device))
    request, notes = _request(spec, target, data, calibrate=calibrate, runtime_bytes=runtime_bytes)
    planner = Planner(request)
    plans = [_plan(planner, spec, name, alone=len(methods) == 1) for name in methods]
    return PlanResult(tuple(plans), target, (*target.assumptions, *notes))


def plan_run(spec: RunSpec, data: Data, runtime_bytes: int) -> tuple[Planner, Plan]:
    """Plan the run of a resolved spec on this machine. Raises SemtuneError."""
    request, _ = _request(spec, local_device(spec.device), data, calibrate=False, runtime_bytes=runtime_bytes)
    planner = Planner(request)
    return planner, planner.plan(spec)


def fit_to_memory(spec: RunSpec, runtime_bytes: int) -> tuple[RunSpec, Plan, str]:
    """Apply the first advised change that makes a resolved spec fit this machine.

    Returns the changed spec, its plan, and the change in words.

    Raises:
        OptionError: no known change makes it fit.
        DataError: the task's data cannot be read.
    """
    data = load_data(spec, texts=True)
    planner, plan = plan_run(spec, data, runtime_bytes)
    if plan.fits:
        return spec, plan, "nothing: it fits as it is"
    found = advice.advise(planner, spec, planner.estimate(spec).trace.lengths)
    if not found:
        needed, free = max(plan.peak_bytes.values()), planner.request.device.memory_bytes
        raise OptionError(
            f"{spec.method} on {spec.model} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free, and no change "
            "that semtune knows makes it fit; choose a smaller model, or see `semtune plan`."
        )
    changed = with_changes(spec, found[0].change)
    return changed, planner.plan(changed), found[0].text


def _plan(planner: Planner, spec: RunSpec, method: str, *, alone: bool) -> Plan:
    """Plan one method. One that cannot attach raises if it is `alone`; otherwise its plan gives the reason."""
    try:
        resolved = resolve(with_method(spec, method, shared=not alone))
        plan = planner.plan(resolved)
    except (TargetError, OptionError) as error:
        if alone:
            raise
        return Plan(method, fits=False, reason=str(error))
    lengths = planner.estimate(resolved).trace.lengths
    return dataclasses.replace(
        plan, largest=advice.largest(planner, resolved), advice=advice.advise(planner, resolved, lengths)
    )


def _request(
    spec: RunSpec, device: Device, data: Data, *, calibrate: bool, runtime_bytes: int
) -> tuple[PlanRequest, list[str]]:
    rates, notes = rates_for(device, calibrate=calibrate)
    request = request_of(spec, device, data, rates, runtime_bytes)
    return request, notes + ([request.note] if request.note else [])


def rates_for(device: Device, *, calibrate: bool) -> tuple[speed.Rates | None, list[str]]:
    """The rates of a device, and where they were measured, in words."""
    rates = speed.rates_of(device)
    if rates is not None or device.kind != "cpu":
        return rates, []
    rates, note = _measured(calibrate)
    return rates, [note]


def request_of(spec: RunSpec, device: Device, data: Data, rates: speed.Rates | None, runtime_bytes: int) -> PlanRequest:
    """Everything that a plan of `spec` depends on beside the spec. Raises ModelError, OptionError."""
    check_combination(spec.prompt, spec.readout, data.space)
    config = locate_config(spec.model, trust_remote_code=spec.trust_remote_code, revision=spec.revision)
    tokenizer, note = planning_tokenizer(
        spec.model, config, trust_remote_code=spec.trust_remote_code, revision=spec.revision
    )
    return PlanRequest(
        config=config,
        stored_dtype=stored_dtype(spec.model, config),
        tokenizer=tokenizer,
        assemble=lambda resolved, loaded: TunedModel(resolved, loaded, data.space),
        workload=_workload(data),
        device=device,
        rates=rates,
        runtime_bytes=runtime_bytes,
        machine_bytes=total_memory_bytes(),
        conversion_bytes=conversion_bytes(spec.model),
        note=note,
    )


def _workload(data: Data) -> Callable[[RunSpec, Readout], Workload]:
    if data.train is None:
        return lambda spec, readout: workload.filled_workload(readout, spec)
    train = data.train
    return lambda spec, readout: workload.task_workload(readout, spec, train, data.predicted)


def _measured(calibrate: bool) -> tuple[speed.Rates, str]:
    """This machine's rates, and their origin in words."""
    setting = (instruction_level(), torch.get_num_threads())
    careful, quick = (cache_folder() / name.format(*setting) for name in (RATES_FILE, QUICK_RATES_FILE))
    if calibrate:
        rates = speed.measure(CALIBRATION_SECONDS)
        speed.write_rates(rates, careful)
        return rates, f"speed: measured just now, {CALIBRATION_SECONDS:.0f} s, {torch.get_num_threads()} threads"
    known = speed.read_rates(careful, math.inf)
    if known is not None:
        return known, "speed: from this machine's calibration (`semtune plan --calibrate` repeats it)"
    recent = speed.read_rates(quick, QUICK_MAX_AGE_SECONDS)
    if recent is None:
        look = _busy_looks.get(setting)
        if look is not None and time.monotonic() - look[0] < BUSY_MAX_AGE_SECONDS:
            return look[1:]
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        recent = speed.measure(QUICK_SECONDS)
        if load > cores() * BUSY_SHARE:  # not written: a day of plans would promise too little
            note = f"speed: a quick look at this machine while other work ran (load {load:.1f})"
            _busy_looks[setting] = (time.monotonic(), recent, note)
            return recent, note
        speed.write_rates(recent, quick)
    return recent, "speed: a quick look at this machine; `semtune plan --calibrate` measures for 10 s"
