"""Which earlier runs stand: those of the same spec, data, model and knowledge. Other differences are noted."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtune.errors import SemtuneError
from semtune.records import Metric, RunResult, RunSpec
from semtune.runs.fingerprints import changed_files, code_version, given_files, model_fingerprint
from semtune.runs.folder import RunFolder, read_json, read_result
from semtune.runs.identity import same_run
from semtune.specs import read_spec, resolve

UNKNOWN = "fingerprint unknown"
GIGABYTE = 1e9
_MACHINE = ("cpu", "cores", "gpus")


@dataclass(frozen=True)
class Verdict:
    """What lies in a run's folder. `result`: of the run that stands; None: it must be run, because of `reason`."""

    result: RunResult | None
    reason: str | None = None
    """Why a finished run of the same spec does not stand; None: there is none."""


class Judge:
    """Compares what lies in run folders with the data, the models and the machine of now."""

    def __init__(self, data: str, environment: Mapping[str, Any], metrics: Sequence[Metric] = ()) -> None:
        """`data`: the data fingerprint of the study. `environment`: of this machine. `metrics`: of the task."""
        self._data, self._environment, self._metrics = data, environment, metrics
        self._models: dict[str, str | None] = {}

    def verdict(self, spec: RunSpec, folder: Path) -> Verdict:
        """Whether a run of the resolved `spec` in `folder` stands; its result then says what differs."""
        paths = RunFolder.current(folder)
        try:
            if not paths.finished() or not same_run(resolve(read_spec(paths.spec)), spec):
                return Verdict(None)
            result = read_result(paths.result, self._metrics)
        except SemtuneError:
            return Verdict(None)
        if result.status != "ok":
            return Verdict(None)
        if result.data_fingerprint not in (None, self._data):
            return Verdict(None, "its data have changed")
        if not self._same_model(result, spec):
            return Verdict(None, "its model's files have changed")
        changed = changed_files(result.file_fingerprints, given_files(spec))
        if "knowledge" in changed:
            return Verdict(None, "its knowledge has changed")
        remark = self._kept_from(result, spec, paths, other_prices="prices" in changed)
        return Verdict(dataclasses.replace(result, kept_from=remark))

    def _model(self, spec: RunSpec, *, sampled: bool = False) -> str | None:
        key = f"{spec.model} {spec.revision} {spec.trust_remote_code} {sampled}"
        if key not in self._models:
            self._models[key] = model_fingerprint(spec, sampled=sampled)
        return self._models[key]

    def _same_model(self, result: RunResult, spec: RunSpec) -> bool:
        """Whether the model is as it was, by the present fingerprint or that of earlier versions; True: not known."""
        known = result.model_fingerprint
        return known is None or any(self._model(spec, sampled=form) in (None, known) for form in (False, True))

    def _kept_from(self, result: RunResult, spec: RunSpec, paths: RunFolder, *, other_prices: bool) -> str | None:
        """When and where a run was measured, if that is not as it is now; None: everything is the same."""
        try:
            environment = read_json(paths.environment, "a run's environment")
            differences = environment_differences(environment, self._environment)
        except (SemtuneError, AttributeError, TypeError):
            differences = ["on an unknown machine"]
        if result.code_version not in (None, code_version()):
            differences.append(f"with semtune {result.code_version} (now {code_version()})")
        if result.data_fingerprint is None:
            differences.append(f"whether its data and model are those of now is not on record ({UNKNOWN})")
        elif result.model_fingerprint is not None and self._model(spec) is None:
            differences.append(f"with a model that is not here now ({UNKNOWN})")
        if other_prices:
            differences.append("with other prices")
        elif result.file_fingerprints is None and spec.knowledge is not None:
            differences.append(f"whether its knowledge is that of now is not on record ({UNKNOWN})")
        return f"measured on {_day(result, paths)}, {', '.join(differences)}" if differences else None


def environment_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of an earlier environment differs from that of now, as phrases."""
    found = []
    if any(then.get(key) != now.get(key) for key in _MACHINE if key in then and key in now):
        gpus = [str(gpu.get("name")) for gpu in then.get("gpus") or ()]
        parts = [str(then.get("cpu")), f"{then.get('cores')} cores", *gpus]
        if isinstance(then.get("total_memory_bytes"), int):
            parts.append(f"{then['total_memory_bytes'] / GIGABYTE:.0f} GB")
        found.append(f"on another machine ({', '.join(parts)})")
    before = {"Python": then.get("python"), **(then.get("packages") or {})}
    present = {"Python": now.get("python"), **(now.get("packages") or {})}
    changed = [name for name in before if name in present and before[name] != present[name]]
    if changed:
        found.append("with " + ", ".join(f"{name} {before[name]} (now {present[name]})" for name in changed))
    return found


def _day(result: RunResult, paths: RunFolder) -> str:
    """The day when the run ended; of old results the day when their file was written."""
    if result.ended_at is not None:
        return result.ended_at[:10]
    written = paths.result.stat().st_mtime
    return datetime.datetime.fromtimestamp(written, tz=datetime.UTC).strftime("%Y-%m-%d")
