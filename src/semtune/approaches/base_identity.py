"""Which base model a fitted approach belongs to: `base_model.json` beside its weights, compared when it is restored.

Adapters over another base of the same shape load without an error and answer nonsense.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semtune.contracts import LoadedModel
from semtune.errors import ModelError
from semtune.runtime.files import read_json, write_json

FILE = "base_model.json"


def write_identity(loaded: LoadedModel, folder: Path) -> None:
    """Write the name, the hub's commit and the digests of a loaded model to `folder`. Raises OutputError."""
    identity = loaded.identity
    write_json(
        folder / FILE,
        {"model": loaded.name, "revision": identity.revision, "digests": dict(identity.digests)},
        indent=2,
    )


def check_identity(loaded: LoadedModel, folder: Path, *, weights: bool = True) -> None:
    """Raises ModelError where the loaded model is not the one that `folder` was written with.

    A folder of an earlier version, without the file, and models without files (random weights) are not checked.

    Args:
        weights: whether the base's weights matter; False: `folder` has every weight itself.
    """
    recorded = _read(folder).get("digests") or {}
    parts = [part for part in loaded.identity.digests if weights or part != "weights"]
    changed = [part for part in parts if recorded.get(part) not in (None, loaded.identity.digests[part])]
    if changed:
        raise ModelError(
            f"The base model {loaded.name} is not the one that this run was made with: its {' and '.join(changed)} "
            "differ; bring the former files back, or tune again on the present ones."
        )


def recorded_revision(folder: Path) -> str | None:
    """The commit of the hub that `folder` was written with; None: the model is not from the hub, or it is not known."""
    revision = _read(folder).get("revision")
    return revision if isinstance(revision, str) else None


def _read(folder: Path) -> dict[str, Any]:
    """The file's content; {} where there is none. Raises ModelError where it is broken."""
    file = folder / FILE
    try:
        value = read_json(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is not readable JSON ({error}); tune again.") from error
    if not isinstance(value, dict) or not isinstance(value.get("digests") or {}, dict):
        raise ModelError(f"{file} does not describe a base model; tune again.")
    return value
