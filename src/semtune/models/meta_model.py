"""A model without weights, and filling it from a stream one tensor at a time.

The architecture is built on the "meta" device, where a tensor has a shape and no bytes. Buffers that no file contains
(the rotary frequencies) are computed by transformers' own initialisation. Each tensor of the stream is then
converted, or quantised, and installed before the next one is read, so the model is never resident twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator
from typing import Any

import torch
from torch import nn

from semtune.contracts import Quantization, WeightStream
from semtune.errors import ModelError, first_line
from semtune.models.architectures import linears_of
from semtune.models.quiet import quiet
from semtune.models.stored_precision import install_stored_layers
from semtune.nn.linear import HALF_DTYPES, is_linear_layer

_NAMED_IN_MESSAGES = 3
"""Number of tensors that a message names; it counts the others."""


def build_meta_model(config: Any, dtype: torch.dtype, *, trust_remote_code: bool = False) -> nn.Module:
    """The causal language model that `config` describes, all tensors on the meta device, in the dtype `dtype`.

    Linear layers that are stored quantised (`stored_precision`) are of that kind already.

    Raises:
        ModelError: transformers has no causal language model for it, or the config's numbers contradict each other.
    """
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    try:
        with quiet(), torch.device("meta"):
            model: nn.Module = auto.from_config(config, dtype=dtype, trust_remote_code=trust_remote_code)
    except (ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise ModelError(
            f'This "{config.model_type}" model cannot be built as a causal language model ({first_line(error)}); '
            "give another one."
        ) from error
    install_stored_layers(model, config, dtype)
    return model


def expected_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and persistent buffers that weights must fill, by name; tied copies are left out."""
    tied = getattr(model, "all_tied_weights_keys", {})
    return {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if name not in tied}


def materialise_buffers(model: nn.Module, device: torch.device) -> None:
    """Allocate the buffers that no file contains on `device`, with the values that transformers computes for them."""
    for module in model.modules():
        names = [n for n in module._non_persistent_buffers_set if module._buffers.get(n) is not None]
        if not names:
            continue
        for name in names:
            module._buffers[name] = torch.empty_like(module.get_buffer(name), device=device)
        owner = _pretrained_owner(model, module)
        with torch.no_grad():
            owner._init_weights(module)  # the module's meta tensors, if any, are not changed by this


def fill(
    model: nn.Module,
    stream: WeightStream,
    *,
    dtype: torch.dtype,
    device: torch.device,
    quantization: Quantization | None = None,
    offloaded: Collection[str] = (),
    half: Collection[str] = (),
) -> tuple[str, ...]:
    """Install every tensor of `stream` in `model`, on `device`.

    Args:
        dtype: of floating-point tensors, and the compute dtype of quantised layers.
        quantization: replaces the decoder's linear layers by quantised ones; None: they stay as they are.
        offloaded: paths of modules whose tensors stay in main memory, whatever `device` is.
        half: paths of modules whose weights keep the half precision of the file.

    Returns:
        Notes about tensors that the architecture does not use.

    Raises:
        ModelError: a tensor is missing or has another shape than the config says.
    """
    return _Filler(model, stream, dtype, device, quantization, offloaded, half).run()


def named_tensors(model: nn.Module, stream: WeightStream) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of `stream`, as they come, under the names that `model`, on the meta device, has for them."""
    expected = expected_tensors(model)
    for name, tensor in stream:
        yield _own_name(model, name, expected), tensor


def _own_name(model: nn.Module, name: str, expected: Container[str]) -> str:
    """The model's own name for a tensor: checkpoints of the bare decoder lack its prefix."""
    prefixed = f"{getattr(model, 'base_model_prefix', '')}.{name}"
    return name if name in expected or prefixed not in expected else prefixed


class _Filler:
    """The state of one `fill`: which tensors are still missing, unused, or waiting for their layer's other tensor."""

    def __init__(
        self,
        model: nn.Module,
        stream: WeightStream,
        dtype: torch.dtype,
        device: torch.device,
        quantization: Quantization | None,
        offloaded: Collection[str],
        half: Collection[str],
    ) -> None:
        self._model, self._stream = model, stream
        self._dtype, self._device = dtype, device
        self._offloaded, self._half = frozenset(offloaded), frozenset(half)
        self._quantization = quantization
        self._quantised = _plain_linears(model) if quantization is not None else set()
        self._tied: dict[str, str] = dict(getattr(model, "all_tied_weights_keys", {}))
        self._missing = {name: tuple(tensor.shape) for name, tensor in expected_tensors(model).items()}
        self._incomplete: dict[str, dict[str, torch.Tensor]] = {}
        """Path of a layer to quantise -> its weight or bias, until the other one arrives."""
        self._unused: list[str] = []

    def run(self) -> tuple[str, ...]:
        in_stream = {self._canonical(name) for name in self._stream.names()}
        copies: dict[str, torch.Tensor] = {}
        for raw_name, tensor in self._stream:
            name = self._canonical(raw_name)
            if name in self._tied and self._tied[name] in in_stream:
                copies[name] = tensor  # the file contains a tied tensor twice
            else:
                self._install(self._tied.get(name, name), tensor)
        if self._missing:
            first = ", ".join(list(self._missing)[:_NAMED_IN_MESSAGES])
            raise ModelError(
                f"The model's files lack {len(self._missing)} tensors that its config asks for ({first}, …); "
                "the files and the config do not belong together."
            )
        self._model.tie_weights()  # type: ignore[operator]
        self._check_copies(copies)
        return self._notes()

    def _canonical(self, name: str) -> str:
        return name if name in self._tied else _own_name(self._model, name, self._missing)

    def _install(self, name: str, tensor: torch.Tensor) -> None:
        if name not in self._missing:
            self._unused.append(name)
            return
        shape = self._missing.pop(name)
        if tuple(tensor.shape) != shape:
            raise ModelError(
                f'The tensor "{name}" is {list(tensor.shape)} in the file but {list(shape)} by the config; the files '
                "and the config do not belong together."
            )
        path, _, leaf = name.rpartition(".")
        device = torch.device("cpu") if path in self._offloaded else self._device
        if path in self._quantised:
            self._quantise(path, leaf, tensor.to(device))  # from the file's own dtype: rounded once
            return
        module = self._model.get_submodule(path)
        if is_linear_layer(module) and leaf in module._buffers:  # of a layer that is stored quantised
            module._buffers[leaf] = tensor.to(device, module.get_buffer(leaf).dtype)
            return
        keeps = not tensor.is_floating_point() or (path in self._half and tensor.dtype in HALF_DTYPES)
        tensor = tensor.to(device=device, dtype=tensor.dtype if keeps else self._dtype)
        if leaf in module._parameters:
            trained = module.get_parameter(leaf).requires_grad and tensor.is_floating_point()
            setattr(module, leaf, nn.Parameter(tensor, requires_grad=trained))
        else:
            module._buffers[leaf] = tensor

    def _quantise(self, path: str, leaf: str, tensor: torch.Tensor) -> None:
        assert self._quantization is not None
        linear = self._model.get_submodule(path)
        tensors = self._incomplete.setdefault(path, {})
        tensors[leaf] = tensor
        if len(tensors) < (1 if linear.bias is None else 2):
            return
        del self._incomplete[path]
        quantised = self._quantization.quantize(tensors["weight"], tensors.get("bias"), self._dtype)
        self._model.set_submodule(path, quantised.train(linear.training))

    def _check_copies(self, copies: dict[str, torch.Tensor]) -> None:
        for name, copy in copies.items():
            installed = self._model.get_parameter(self._tied[name])
            if not torch.equal(copy.to(installed.device, installed.dtype), installed):
                raise ModelError(
                    f'The config ties "{name}" to "{self._tied[name]}" but the file has two different tensors; set '
                    '"tie_word_embeddings": false in its config.json.'
                )

    def _notes(self) -> tuple[str, ...]:
        patterns = list(getattr(self._model, "_keys_to_ignore_on_load_unexpected", None) or ())
        patterns.append(r"rotary_emb\.inv_freq$")  # older checkpoints contain it; it follows from the config
        unused = [name for name in self._unused if not any(re.search(pattern, name) for pattern in patterns)]
        if not unused:
            return ()
        first = ", ".join(unused[:_NAMED_IN_MESSAGES])
        return (f"{len(unused)} tensors in the model's files are not used by its architecture ({first})",)


def _plain_linears(model: nn.Module) -> set[str]:
    """Paths of the decoder's linear layers whose weights the files have in a dtype."""
    return {path for path, module in linears_of(model).items() if isinstance(module, nn.Linear)}


def _pretrained_owner(model: nn.Module, module: nn.Module) -> Any:
    """The innermost transformers model that `module` belongs to: composite models have more than one."""
    from transformers import PreTrainedModel

    owner = model
    for candidate in model.modules():  # parents come before children
        if isinstance(candidate, PreTrainedModel) and any(inner is module for inner in candidate.modules()):
            owner = candidate
    return owner
