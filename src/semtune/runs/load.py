"""A finished run of any approach, ready to predict again."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from semtune.contracts import Approach, TaskContext
from semtune.errors import ModelError
from semtune.registry import APPROACHES
from semtune.runs.folder import RunFolder, read_labels
from semtune.specs import read_spec


def load_run(path: Path) -> Approach:
    """The fitted approach of a run folder, loaded; neither the task nor its data is needed. Raises ModelError."""
    folder = RunFolder.current(path)
    if not folder.spec.exists():
        raise ModelError(f"{path} is not a run folder; give the folder that `semtune tune --out` wrote.")
    space = read_labels(folder)
    kept = folder.kept()
    if kept is None:
        raise ModelError(f"The run in {path} ended before it kept anything; tune again.")
    spec = read_spec(folder.spec)
    context = TaskContext(spec.task, space, ())
    approach = cast("Approach", APPROACHES.get(spec.approach)(spec, context))
    approach.load()
    approach.restore(kept)
    return approach
