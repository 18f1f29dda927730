"""A finished run, ready to predict again."""

from __future__ import annotations

from pathlib import Path

from semtune.approaches.tuned import TunedModel
from semtune.errors import ModelError
from semtune.runs.folder import RunFolder, read_labels
from semtune.specs import read_spec


def load_run(path: Path) -> TunedModel:
    """The tuned model of a run folder. Raises ModelError."""
    folder = RunFolder(path)
    if not folder.spec.exists():
        raise ModelError(f"{path} is not a run folder; give the folder that `semtune tune --out` wrote.")
    space = read_labels(folder)
    weights = folder.weights()
    if weights is None:
        raise ModelError(f"The run in {path} ended before it kept any weights; tune again.")
    tuned = TunedModel.build(read_spec(folder.spec), space)
    tuned.restore(weights)
    return tuned
