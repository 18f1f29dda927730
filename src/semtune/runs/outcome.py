"""How a run ended, and the result as it stands before anything was measured."""

from __future__ import annotations

from typing import Any

from semtune.errors import DivergedError, DoesNotFitError, first_line
from semtune.records import RunResult, RunSpec, Status
from semtune.registry import APPROACHES
from semtune.runs.identity import spec_fingerprint
from semtune.runtime.limits import is_out_of_memory
from semtune.specs.presets import preset_changes


def unmeasured(spec: RunSpec, status: Status, **fields: Any) -> RunResult:
    """The result of a run of the resolved `spec` without figures; choices that its approach does not use are "".

    Args:
        fields: other fields of the result.
    """
    uses = APPROACHES.get(spec.approach).uses
    chosen: dict[str, Any] = dict.fromkeys(("model", "method", "prompt", "readout"), "")
    chosen |= {name: getattr(spec, name) for name in chosen if name in uses}
    own = next((getattr(spec, name) for name in ("strategy", "baseline") if name in uses), None)
    return RunResult(
        task=spec.task,
        **chosen,
        preset=spec.preset if "method" in uses else "",
        seed=spec.seed,
        status=status,
        approach=spec.approach,
        name=own,
        answer=answer_of(spec),
        preset_changes=preset_changes(spec),
        spec_fingerprint=spec_fingerprint(spec),
        **fields,
    )


def answer_of(spec: RunSpec) -> str:
    """How a prompted run of the resolved `spec` reads answers; "": its strategy has no such option, or it has none."""
    return str(spec.strategy_options.get("answer", "")) if "strategy" in APPROACHES.get(spec.approach).uses else ""


def ending(error: BaseException) -> tuple[Status, str]:
    """The status of a run that ended with `error`, and its reason."""
    if isinstance(error, DivergedError):
        return "diverged", str(error)
    if isinstance(error, DoesNotFitError):
        return "does_not_fit", str(error)
    if is_out_of_memory(error):
        return "out_of_memory", f"needed more memory than this machine has free ({first_line(error)})"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "interrupted by the user"
    return "failed", first_line(error)
