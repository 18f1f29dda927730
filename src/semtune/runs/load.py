"""A finished run of any approach, ready to predict again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from semtune.approaches.base_identity import recorded_revision
from semtune.contracts import Approach, TaskContext
from semtune.errors import ModelError
from semtune.registry import APPROACHES
from semtune.runs.folder import RunFolder, read_labels
from semtune.specs import read_spec
from semtune.specs.naming import naming


def load_run(path: Path, *, trust_remote_code: bool = False) -> Approach:
    """The fitted approach of a run folder, loaded; neither the task nor its data is needed.

    Args:
        trust_remote_code: whether code that comes with the base model may run; the folder has no say in it.

    Raises ModelError.
    """
    folder = RunFolder.current(path)
    if not folder.spec.exists():
        raise ModelError(f"{path} is not a run folder; give the folder that `semtune tune --out` wrote.")
    space = read_labels(folder)
    kept = folder.kept()
    if kept is None:
        raise ModelError(f"The run in {path} ended before it kept anything; tune again.")
    spec = replace(read_spec(folder.spec), trust_remote_code=trust_remote_code)
    commit = recorded_revision(kept)
    if commit is not None:  # what the hub calls by the same name today may be another model
        spec = replace(spec, revision=commit)
    context = TaskContext(spec.task, space, ())
    with naming(str(folder.spec)):
        approach = cast("Approach", APPROACHES.get(spec.approach)(spec, context))
        approach.load()
    approach.restore(kept)
    return approach
