"""What approaches with a language model share before they load it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import torch

from semtune.errors import ModelError
from semtune.measure.machine import available_memory_bytes, default_threads
from semtune.models.locate import conversion_bytes, prepare
from semtune.records import RunSpec
from semtune.runtime.imports import heavy_imports


def prepare_model(spec: RunSpec, on_phase: Callable[[str], None]) -> None:
    """Make the model's files readable (download, convert) and set torch's threads, so that `load` measures loading.

    Raises ModelError.
    """
    with heavy_imports():
        importlib.import_module("semtune.models.architectures.stock")  # before clocks run: it imports transformers
    check_conversion(spec)
    on_phase(f"preparing {spec.model}")
    prepare(spec.model, trust_remote_code=spec.trust_remote_code, revision=spec.revision)
    torch.set_num_threads(spec.threads or default_threads())


def check_conversion(spec: RunSpec) -> None:
    """Raises ModelError where making the model's files readable needs more memory than is free."""
    needed, free = conversion_bytes(spec.model), available_memory_bytes()
    if needed > free:
        raise ModelError(
            f"Converting {Path(spec.model).name} takes about {needed / 1e9:.1f} GB once and {free / 1e9:.1f} GB are "
            "free; close other programs, convert it on another machine, or give a smaller model."
        )
