"""Peaks and seconds of one cell of the plan's grid: a run's phases for real, every text at its longest.

Settings beside the usual: `spec`, a run's options; the phases are those of a run (`approaches.run`).
"""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.common import Settings, run_program

STEPS = 3


def main(settings: Settings) -> dict[str, Any]:
    """Peak bytes of load, train and evaluate, and the seconds of each training step."""
    import torch

    from semtune.approaches.tuned_model import TunedModel
    from semtune.measure.clock import synchronised_seconds
    from semtune.measure.memory import PhaseMeter
    from semtune.plan.workload import SPACE, filled_workload
    from semtune.runtime.malloc import freed_memory_kept
    from semtune.specs import resolve, spec_from
    from semtune.training.loop import optimizer_step
    from semtune.training.schedule import Schedule

    torch.set_num_threads(settings.threads)
    spec = resolve(spec_from(settings.spec or {}, "the cell", shared=True))
    meter = PhaseMeter(spec.device)
    with meter.phase("load"):
        tuned = TunedModel.build(spec, SPACE)
    workload = filled_workload(tuned.readout, spec)
    seconds = []
    with meter.phase("train"):
        optimizer = tuned.optimizer_choice.make(tuned.groups(), Schedule(STEPS, spec.warmup_fraction))
        tuned.loaded.model.train()
        with freed_memory_kept():
            for _ in range(STEPS):
                started = synchronised_seconds(spec.device)
                optimizer_step(tuned.readout, optimizer, workload.largest, spec.max_grad_norm)
                seconds.append(synchronised_seconds(spec.device) - started)
    with meter.phase("evaluate"):
        started = synchronised_seconds(spec.device)
        tuned.predict(workload.predicted)
        evaluate_seconds = synchronised_seconds(spec.device) - started
    return {
        "runtime_bytes": meter.runtime_bytes,
        "peak_bytes": meter.peak_bytes,
        "reserved_bytes": meter.reserved_bytes,
        "host_peak_bytes": meter.host_peak_bytes,
        "step_seconds": seconds,
        "evaluate_seconds": evaluate_seconds,
    }


if __name__ == "__main__":
    run_program(main)
