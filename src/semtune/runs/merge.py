"""The tuned model of a finished run, merged and written as a model folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from semtune.approaches.export import check_export, export
from semtune.approaches.tuned import Tuned
from semtune.errors import MergeRefusedError
from semtune.registry import APPROACHES
from semtune.runs.folder import RunFolder
from semtune.runs.load import load_run
from semtune.specs import read_spec


def merge_run(path: Path, folder: Path, *, dequantize: bool = False, trust_remote_code: bool = False) -> bool:
    """Load the run in `path`, merge its method into the base model and write that to `folder`.

    Returns:
        Whether the readout has trained parameters of its own, which are in `folder`/readout.

    Raises:
        MergeRefusedError: the run tuned no weights, or its method cannot merge into its base.
        ModelError, OutputError: the run cannot be read, or `folder` cannot be written or holds something.
    """
    file = RunFolder.current(path).spec
    if file.exists():
        spec = replace(read_spec(file), trust_remote_code=trust_remote_code)
        if "method" not in APPROACHES.get(spec.approach).uses:
            raise MergeRefusedError(f"The run in {path} is of the approach {spec.approach}, which tunes no weights.")
        check_export(spec, folder)
    approach = load_run(path, trust_remote_code=trust_remote_code)
    return export(cast(Tuned, approach).model, folder, dequantize=dequantize)
