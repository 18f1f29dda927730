"""A method's properties, found by attaching it to fake tensors and merging it there: no weights, no data.

It asks no method what it is: what attaches, counts and merges is the code of a run.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from semtune.contracts import Method, freezes_linears, trains_readout_alone
from semtune.errors import MergeRefusedError, SemtuneError
from semtune.methods.properties import MODEL, PRESET, BaseProperties, MethodProperties
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.fake_model import build_fake_model, layer_count, with_layers
from semtune.models.loaded import TransformersModel
from semtune.models.loading import dtype_of
from semtune.models.locate import locate_config, vocab_size
from semtune.nn.linear import QuantizedLinear, total_numel
from semtune.records import MethodSettings
from semtune.registry import METHODS, QUANTIZATIONS

PLAIN_PRECISIONS = ("fp32", "bf16")
"""Precisions of base weights beside the quantisations. fp64 is for tests."""


def probe(name: str) -> MethodProperties:
    """The properties of the registered method `name`. Raises what `attach` raises over plain fp32 and bf16 weights."""
    method: Method = METHODS.get(name)
    config = locate_config(MODEL)
    bases = {p: _over(method, config, p) for p in (*PLAIN_PRECISIONS, *QUANTIZATIONS)}
    precision = method.presets[PRESET].precision
    # The numbers are those of every precision, so they are counted over the first one that the method takes.
    counted = next((p for p, base in bases.items() if base.refusal is None), precision)
    layers, shallow = layer_count(config), min(method.presets[PRESET].last_blocks_apart + 1, layer_count(config))
    first, second = (_counts(method, with_layers(config, n), counted) for n in (shallow, shallow + 1))
    trainable, total = (a + (layers - shallow) * (b - a) for a, b in zip(first, second, strict=True))
    return MethodProperties(trainable, total, trains_readout_alone(method), precision, bases)


def _counts(method: Method, config: Any, precision: str) -> tuple[int, int]:
    """Numbers of trained scalars and of all scalars. Each further block adds as many as the one before, as in plans."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = _attached(method, config, precision).model
        trainable = sum(p.numel() for p in method.trainable(model).values())
        return trainable, total_numel(model)


def _over(method: Method, config: Any, precision: str) -> BaseProperties:
    """Attach and merge over a model of one block in `precision`."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        loaded = _base(method, with_layers(config, 1), precision)
        own = {name for name, _ in loaded.model.named_parameters()}
        try:
            method.attach(loaded, _settings(method, precision))
        except SemtuneError as refusal:
            return BaseProperties(refusal=str(refusal))
        added = method.trainable(loaded.model).keys() - own
        try:
            method.merge(loaded.model)
        except MergeRefusedError as refusal:
            return BaseProperties(merge_refusal=str(refusal))
        stays = any(isinstance(module, QuantizedLinear) for module in loaded.model.modules())
        return BaseProperties(
            merge="merges" if added else "in place", merged_precision=precision if stays and added else None
        )


def _attached(method: Method, config: Any, precision: str) -> TransformersModel:
    loaded = _base(method, config, precision)
    method.attach(loaded, _settings(method, precision))
    return loaded


def _base(method: Method, config: Any, precision: str) -> TransformersModel:
    """The model of `config` as `loading.load` would load it for `method` on a CPU, of fake tensors."""
    return build_fake_model(
        config,
        name=MODEL,
        precision=precision,
        dtype=dtype_of(precision, bf16=False),
        device=torch.device("cpu"),
        stored_dtype=torch.bfloat16,
        tokenizer=ApproximateTokenizer(vocab_size(config)),
        frozen=freezes_linears(method),
    )


def _settings(method: Method, precision: str) -> MethodSettings:
    return dataclasses.replace(method.presets[PRESET], precision=precision)
