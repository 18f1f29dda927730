"""Which run a result belongs to: the fingerprint of its spec, and an id that a study gives to each run it starts.

The study leaves the id beside the run folder, in `.<name>.request.json`, with the fingerprint of the spec that it is
for. The run takes it from there, so it reaches runs whatever launcher starts them, and on whatever machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

from semtune.records import RunResult, RunSpec, to_plain
from semtune.runtime import files
from semtune.specs import with_absolute_paths

PERMISSIONS = ("allow_overlap", "trust_remote_code")
"""Fields of a spec that allow a run and do not change what it computes."""
_DIGITS = 16


def same_run(one: RunSpec, other: RunSpec) -> bool:
    """Whether two resolved specs describe the same run, permissions and the spelling of a model's path aside."""
    return _identifying(one) == _identifying(other)


def spec_fingerprint(spec: RunSpec) -> str:
    """16 hexadecimal digits of the SHA-256 of a resolved spec; what `same_run` leaves aside does not count."""
    return digest(to_plain(_identifying(spec)))


def digest(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of a plain value as JSON with sorted keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:_DIGITS]


def new_id() -> str:
    """A run id that nobody has used."""
    return uuid.uuid4().hex


def request(folder: Path, spec: RunSpec, told: str | None = None) -> str:
    """Request a run of the resolved `spec` in `folder`; its id. Raises OutputError.

    `told`: the fingerprint of the data whose notes the user has been told, so that the run need not repeat them.
    """
    run_id = new_id()
    content = {"run_id": run_id, "spec_fingerprint": spec_fingerprint(spec), "told": told}
    files.write_json(_request_file(folder), content)
    return run_id


def requested(folder: Path, spec: RunSpec) -> str | None:
    """The id of the run of `spec` that is requested in `folder`; None: none is."""
    found = _requested(folder, spec).get("run_id")
    return None if found is None else str(found)


def told(folder: Path, spec: RunSpec) -> str | None:
    """The fingerprint of the data whose notes the user has been told; None where no run of `spec` is requested."""
    found = _requested(folder, spec).get("told")
    return None if found is None else str(found)


def _requested(folder: Path, spec: RunSpec) -> dict[str, Any]:
    """The request of a run of `spec` in `folder`; {} where there is none."""
    try:
        found = files.read_json(_request_file(folder))
        return dict(found) if found["spec_fingerprint"] == spec_fingerprint(spec) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def withdraw(folder: Path) -> None:
    """Remove the request of a run in `folder`, if there is one."""
    with contextlib.suppress(OSError):
        _request_file(folder).unlink(missing_ok=True)


def belongs_to(result: RunResult, spec: RunSpec, run_id: str) -> bool:
    """Whether `result` is that of the run `run_id` of `spec`.

    Every run writes an id. A result of this spec without one is the launcher's own word about a run that wrote none.
    """
    return result.spec_fingerprint == spec_fingerprint(spec) and result.run_id in (run_id, None)


def _request_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.request.json"


def _identifying(spec: RunSpec) -> RunSpec:
    """`spec` without permissions, and with the absolute path of a model that is a file or folder here."""
    changes: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(spec) if f.name in PERMISSIONS}
    return dataclasses.replace(with_absolute_paths(spec), **changes)
