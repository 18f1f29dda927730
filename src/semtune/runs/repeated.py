"""Whether a run that repeats another from its spec.yaml had the same data, model and files."""

from __future__ import annotations

from pathlib import Path

from semtune.errors import SemtuneError
from semtune.records import RunResult, RunSpec
from semtune.runs.fingerprints import changed_files, model_fingerprint
from semtune.runs.folder import RunFolder, read_result


def earlier_result(spec_file: Path) -> RunResult | None:
    """The result beside a run's spec.yaml; None where the file lies in no run folder or the result cannot be read."""
    paths = RunFolder(spec_file.parent)
    if spec_file.name != paths.spec.name or not paths.result.exists():
        return None
    try:
        return read_result(paths.result)
    except SemtuneError:
        return None


def differences(then: RunResult, now: RunResult, spec: RunSpec) -> list[str]:
    """What the same spec named then and names now, and is not the same: "data", "model", "knowledge"; [] where the
    spec was changed, or the fingerprints are not on record.
    """
    if then.spec_fingerprint != now.spec_fingerprint:
        return []
    found = []
    if None not in (then.data_fingerprint, now.data_fingerprint) and then.data_fingerprint != now.data_fingerprint:
        found.append("data")
    if (
        None not in (then.model_fingerprint, now.model_fingerprint)
        and then.model_fingerprint != now.model_fingerprint
        and then.model_fingerprint != model_fingerprint(spec, sampled=True)  # of an earlier version
    ):
        found.append("model")
    return found + sorted(changed_files(then.file_fingerprints, now.file_fingerprints))
