"""Bottleneck adapters: two small trained layers whose output is added to that of a frozen module.

    Δ(h) = s · (W_up f(W_down h + b_down) + b_up)

    sequential (Houlsby et al. 2019, arXiv:1902.00751):  y = g(x) + Δ(g(x))
    parallel (He et al. 2022, arXiv:2110.04366):         y = g(x) + Δ(x)

g is any module of the model: attention, an MLP, a whole block. `append_bottleneck` registers the adapter as a child of
g and a forward hook that adds Δ, so the names of all other parameters stay, and whatever calls g gets y.

- W_up and b_up are 0 at first, so y is bitwise g(x). The papers draw both matrices from a narrow normal distribution,
  which is only near the identity; an exact zero is what He et al. use, with W_down Kaiming-uniform (a = sqrt(5)).
- Products run in the activations' dtype; the parameters and their gradients are fp32 (fp64 for an fp64 model).
- s multiplies W_up and b_up before the product: (width, bottleneck) numbers instead of (tokens, width).
- Saved for backward: h, which a frozen module would not keep, and a few tensors of (tokens, bottleneck).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn.block_output import BlockOutput
from semtune.nn.linear import adapter_dtype
from semtune.nn.linear.panel import linear

Activation = Literal["relu", "swish"]
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "swish": F.silu}
CHILD = "bottleneck"
"""Name of the adapter among the children of the module that carries it."""


class Bottleneck(nn.Module):
    """Δ of the module's docstring, (..., width) -> (..., width), without the residual addition.

    Args:
        width: size of the hidden states.
        size: size of the bottleneck, at least 1.
        activation: f.
        scale: s, or its start.
        learn_scale: whether s is a parameter, `scale` (1,).
        dtype: of the products; the parameters are fp64 where it is fp64, else fp32.
    """

    def __init__(
        self,
        width: int,
        size: int,
        *,
        activation: Activation = "relu",
        scale: float = 1.0,
        learn_scale: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.width, self.size = width, size
        self.parallel = False
        """Whether h is the input of the module that carries the adapter; `append_bottleneck` sets it."""
        self.activation = activation
        stored = adapter_dtype(dtype)
        self.scale: float | nn.Parameter = scale
        if learn_scale:
            self.scale = nn.Parameter(torch.full((1,), scale, dtype=stored, device=device))
        # Drawn on the CPU: the same seed then gives the same adapter on every device.
        down = nn.init.kaiming_uniform_(torch.empty(size, width, dtype=stored), a=math.sqrt(5))
        self.down_weight = nn.Parameter(down.to(device))
        self.down_bias = nn.Parameter(torch.zeros(size, dtype=stored, device=device))
        self.up_weight = nn.Parameter(torch.zeros(width, size, dtype=stored, device=device))
        self.up_bias = nn.Parameter(torch.zeros(width, dtype=stored, device=device))

    def forward(self, h: Tensor) -> Tensor:
        """(..., width) -> (..., width), in h's dtype."""
        inner = linear(h, self.down_weight.to(h.dtype), self.down_bias.to(h.dtype))  # (..., width) -> (..., size)
        up_weight: Tensor = self.up_weight
        up_bias: Tensor = self.up_bias
        if isinstance(self.scale, nn.Parameter) or self.scale != 1:
            up_weight, up_bias = self.scale * up_weight, self.scale * up_bias
        return linear(ACTIVATIONS[self.activation](inner), up_weight.to(h.dtype), up_bias.to(h.dtype))

    def extra_repr(self) -> str:
        scale = "learned" if isinstance(self.scale, nn.Parameter) else f"{self.scale:g}"
        return f"width={self.width}, size={self.size}, activation={self.activation}, scale={scale}"


def append_bottleneck(module: nn.Module, adapter: Bottleneck, *, parallel: bool = False) -> None:
    """Add `adapter` to the output of `module` in every call, in place.

    The output may be a tensor, a tuple whose first element is the tensor, or a `BlockOutput`.

    Args:
        parallel: whether the adapter's input is the module's input instead of its output.
    """
    adapter.parallel = parallel
    module.register_module(CHILD, adapter)
    module.register_forward_hook(_add_parallel if parallel else _add_sequential, with_kwargs=True)


def bottlenecks(model: nn.Module) -> dict[str, Bottleneck]:
    """Every bottleneck adapter of `model`, by module path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Bottleneck)}


def bottleneck_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of all bottleneck adapters, by their name in `model`."""
    return {
        f"{path}.{name}": parameter
        for path, adapter in bottlenecks(model).items()
        for name, parameter in adapter.named_parameters()
    }


def _add_sequential(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """A forward hook: y = g(x) + Δ(g(x))."""
    adapter = cast(Bottleneck, module.get_submodule(CHILD))
    if isinstance(output, BlockOutput):  # the next norm adds Δ to the sum that is needed here
        total = output.hidden_states + output.residual
        return BlockOutput(adapter(total), total)
    return _plus(output, adapter(output[0] if isinstance(output, tuple) else output))


def _add_parallel(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """A forward hook: y = g(x) + Δ(x)."""
    x: Tensor = args[0] if args else kwargs["hidden_states"]
    rows = getattr(kwargs.get("packed"), "query_rows", None)
    if rows is not None:  # attention in the last block reads every token, and computes only these
        x = x.index_select(0, rows)
    return _plus(output, cast(Bottleneck, module.get_submodule(CHILD))(x))


def _plus(output: Any, delta: Tensor) -> Any:
    """`output` with `delta` added to its hidden states, in a container of the same kind."""
    if isinstance(output, BlockOutput):
        return BlockOutput(output.hidden_states + delta, output.residual)
    return (output[0] + delta, *output[1:]) if isinstance(output, tuple) else output + delta
