"""A tuned model as a model folder of its own: adapters merged into the base, which needs no method any more."""

from __future__ import annotations

from pathlib import Path

from semtune.approaches.tuned_model import TunedModel
from semtune.contracts import Located, SourceOptions
from semtune.errors import MergeRefusedError
from semtune.models.locate import locate
from semtune.models.saving import check_saveable, make_mergeable, save_model
from semtune.records import RunSpec
from semtune.specs import method_settings

READOUT = "readout"
"""Folder, within the model's, of what the readout has learnt."""


def check_export(spec: RunSpec, folder: Path) -> None:
    """Refuse what `export` cannot write, before the model is loaded. Raises ModelError, OutputError."""
    check_saveable(_located(spec), folder)


def export(tuned: TunedModel, folder: Path, *, dequantize: bool) -> bool:
    """Merge and write a fitted model to `folder`; it is of no use afterwards.

    Args:
        dequantize: write quantised layers as plain weights. Those that an adapter cannot be merged into (NF4) become
            plain bf16 weights of the same values first, so the merged model is the function that was tuned, rounded
            to bf16.

    Returns:
        Whether the readout has trained parameters too, which are in the folder's `readout/`.

    Raises:
        MergeRefusedError: the method cannot merge into this base. ModelError, OutputError: see `save_model`.
    """
    spec = tuned.spec
    try:
        tuned.method.merge(tuned.loaded.model)
    except MergeRefusedError:  # nothing has been changed
        if not dequantize or not make_mergeable(tuned.loaded.model):
            raise
        tuned.method.merge(tuned.loaded.model)
    precision = method_settings(spec).precision
    save_model(tuned.loaded.model, _located(spec), precision, folder, dequantize=dequantize)
    if not tuned.readout.trainable():
        return False
    tuned.readout.save(folder / READOUT)
    return True


def _located(spec: RunSpec) -> Located:
    return locate(spec.model, SourceOptions(spec.seed, spec.trust_remote_code, spec.revision))
