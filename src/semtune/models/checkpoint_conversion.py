"""The tensors of a model's files under the names and in the layout that transformers' own loading gives them.

Files on disk may name and split tensors otherwise than the model class does: GPT-NeoX files call the output embedding
`embed_out`, and files of mixtures of experts have one matrix an expert where the class has one tensor for all of them.
transformers translates by a table (`transformers.conversion_mapping`) and operations
(`transformers.core_model_loading`) that `save_pretrained` applies backwards. This module applies the same table to a
stream, so that one group of source tensors at a time is in memory instead of the whole file.

Every parameter is also checked to be finite here, since a NaN in the files looks like a diverged training later.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from semtune.contracts import WeightStream
from semtune.errors import ModelError, first_line


@dataclass(slots=True)
class _Group:
    """The source tensors that one conversion turns into tensors of the model."""

    target: str
    """Name that transformers gives the group: that of its first result."""
    converter: Any
    """A `WeightConverter` of its own for this group."""
    pattern_of: dict[str, str] = field(default_factory=dict)
    """Source name -> the converter's pattern that it matches, in the order in which the converter wants them."""
    waiting: dict[str, Tensor] = field(default_factory=dict)
    """Source tensors read so far."""


class ConvertedStream:
    """A `contracts.WeightStream` of the tensors of `files` as `model`, on the meta device, names and shapes them.

    A tensor that the model has no place for keeps its name. Results come in the order in which the last tensor of each
    group is read.

    Raises:
        ModelError: while reading, a group cannot be converted, or a parameter has an element that is not finite.
    """

    def __init__(self, files: WeightStream, model: nn.Module) -> None:
        self._files, self._model = files, model
        self._parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self._renamed: dict[str, str] = {}
        self._group_of: dict[str, _Group] = {}
        self._assign(files.names())

    def names(self) -> list[str]:
        found = [self._renamed[name] for name in self._files.names() if name in self._renamed]
        for group in {id(group): group for group in self._group_of.values()}.values():
            first, *others = group.converter.target_patterns
            found += [group.target, *(group.target.replace(first, other) for other in others)]
        return found

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for source, tensor in self._files:
            group = self._group_of.get(source)
            if group is None:
                yield self._checked(self._renamed[source], tensor)
                continue
            group.waiting[source] = tensor
            if len(group.waiting) == len(group.pattern_of):
                for name, converted in self._convert(group).items():
                    yield self._checked(name, converted)

    def _assign(self, sources: list[str]) -> None:
        """Decide for every source name, as `convert_and_load_state_dict_in_model` does, what becomes of it."""
        try:
            from transformers.conversion_mapping import get_model_conversion_mapping
            from transformers.core_model_loading import (
                WeightConverter,
                WeightRenaming,
                dot_natural_key,
                rename_source_key,
            )
        except ImportError:  # a transformers that stores tensors as its classes name them
            self._renamed = {source: source for source in sources}
            return
        model: Any = self._model
        transforms = get_model_conversion_mapping(model)
        converters = [t for t in transforms if isinstance(t, WeightConverter)]
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
        expected: Any = dict(model.state_dict(keep_vars=True))
        prefix = getattr(model, "base_model_prefix", "")
        groups: dict[str, _Group] = {}
        taken: set[str] = set()
        for source in sorted(sources, key=dot_natural_key):  # experts must come in the order of their numbers
            target, pattern = rename_source_key(source, renamings, converters, prefix, expected)
            if target not in expected and source in expected:
                target, pattern = rename_source_key(source, [], [], prefix, expected)
            if target not in expected or pattern is None:
                self._renamed[source] = target if target in expected and target not in taken else source
                taken.add(self._renamed[source])
                continue
            group = groups.setdefault(target, _Group(target, copy.deepcopy(by_pattern[pattern])))
            group.pattern_of[source] = pattern
            self._group_of[source] = group
            taken.add(target)

    def _convert(self, group: _Group) -> dict[str, Tensor]:
        """The model's tensors of a complete group, by name; the source tensors are released."""
        for source, pattern in group.pattern_of.items():
            group.converter.add_tensor(group.target, source, pattern, group.waiting.pop(source))
        model: Any = self._model
        try:
            converted = group.converter.convert(group.target, model=model, config=model.config)
        except Exception as error:  # any operation of transformers, over tensors of any shape
            raise ModelError(
                f'The tensors of "{group.target}" in the model\'s files cannot be joined as transformers joins them '
                f"({first_line(error)}); the files and the config do not belong together."
            ) from error
        return {name: _own_memory(t[0] if isinstance(t, list) else t) for name, t in converted.items()}

    def _checked(self, name: str, tensor: Tensor) -> tuple[str, Tensor]:
        if name in self._parameters and not is_finite(tensor):
            count = int((~tensor.isfinite()).sum())
            raise ModelError(
                f'The weights of the base model are broken: "{name}" has {count} of {tensor.numel()} elements that are '
                "NaN or infinite in the model's files; download the model again, or give another one."
            )
        return name, tensor


def is_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite. One pass without a temporary: the extremes show both."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    return bool(torch.stack(torch.aminmax(tensor)).isfinite().all())


def _own_memory(tensor: Tensor) -> Tensor:
    """`tensor`, contiguous, and a copy where it is a part of a larger tensor, which would stay in memory with it."""
    if tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor.contiguous()
