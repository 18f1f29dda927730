"""`shape:<name>`: a published config with random weights, to measure speed and memory without anyone's licence.

Weights follow N(0, initializer_range²), norms are ones, biases zeros. Each tensor is drawn from a generator of its own,
seeded from the run's seed and the tensor's name, so its values do not depend on the order of loading. The tokenizer is
borrowed from the default model, its ids folded into the shape's vocabulary: scores mean nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semtune.contracts import Located, SourceOptions
from semtune.errors import ModelError, did_you_mean
from semtune.models.meta_model import expected_tensors
from semtune.models.sources.base import Source
from semtune.models.sources.published import shape_config, shape_names
from semtune.models.sources.pypi import DEFAULT_REFERENCE, PypiSource

NOTE = "random weights: speed and memory only, scores mean nothing"


class ShapeSource(Source):
    """`reference` is a name of `shape_names`."""

    prefix = "shape"
    borrows_tokenizer = True

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self._name = reference
        self._options = options

    def locate(self) -> Located:
        """Raises ModelError: unknown name, or the default model's tokenizer cannot be had."""
        config = self.config()
        borrowed = PypiSource(DEFAULT_REFERENCE, SourceOptions()).locate()
        return Located(
            config=config,
            tokenizer_folder=borrowed.tokenizer_folder,
            weights=lambda meta_model: RandomStream(meta_model, float(config.initializer_range), self._options.seed),
            notes=(NOTE,),
            fold_vocabulary=self.borrows_tokenizer,
        )

    def config(self) -> Any:
        """transformers' config of the shape, without tokenizer or weights. Raises ModelError."""
        names = shape_names()
        if self._name not in names:
            raise ModelError(f'There is no model "shape:{self._name}"; {did_you_mean(self._name, names)}.')
        return shape_config(self._name)

    def tokenizer_folder(self) -> Path:
        """The default model's, where it is in the cache. Raises ModelError where it is not."""
        return PypiSource(DEFAULT_REFERENCE, SourceOptions()).tokenizer_folder()


class RandomStream:
    """Random tensors in bf16 (what the published files hold) for every name that the meta-device model expects."""

    def __init__(self, meta_model: nn.Module, standard_deviation: float, seed: int) -> None:
        self._shapes = {name: tuple(tensor.shape) for name, tensor in expected_tensors(meta_model).items()}
        self._standard_deviation = standard_deviation
        self._seed = seed

    def names(self) -> list[str]:
        return list(self._shapes)

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, shape in self._shapes.items():
            tensor = torch.empty(shape, dtype=torch.bfloat16)
            if len(shape) > 1:
                digest = hashlib.sha256(f"{self._seed}:{name}".encode()).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
                tensor.normal_(0.0, self._standard_deviation, generator=generator)
            elif name.endswith("bias"):
                tensor.zero_()
            else:
                tensor.fill_(1.0)
            yield name, tensor
