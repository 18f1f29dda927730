"""What a linear layer y = x Wᵀ + bias offers however its weight W is stored, and what a quantisation makes of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class LinearLayer(Protocol):
    """One linear layer with W of shape (out_features, in_features): plain, prepacked, quantised or offloaded.

    A module that stores W in a way of its own has these members itself and keeps W out of its parameters. A plain
    `nn.Linear` gets them from `nn.linear.as_linear_layer`; `nn.linear.is_linear_layer` says whether a module has them.
    `bias` is a parameter of the module in every kind, so a method can train it beside a frozen W.
    """

    @property
    def in_features(self) -> int: ...

    @property
    def out_features(self) -> int: ...

    @property
    def bias(self) -> nn.Parameter | None:
        """(out_features,), or None."""
        ...

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype that the layer's products are meant to run in."""
        ...

    @property
    def weight_dtype(self) -> torch.dtype:
        """The narrowest dtype in which `dequantize` gives W without rounding it."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of the matrix multiplications; an offloaded W is stored in main memory."""
        ...

    @property
    def weight_numel(self) -> int:
        """Number of elements of W."""
        ...

    @property
    def weight_bytes(self) -> int:
        """Bytes of W as it is stored, scales included; the second copy of a prepacked W is not counted."""
        ...

    @property
    def weight_frozen(self) -> bool:
        """Whether W receives no gradient."""
        ...

    @property
    def train_refusal(self) -> str | None:
        """Why W cannot be trained in place: the object of "cannot train …", and what to do. None where it can."""
        ...

    @property
    def merge_refusal(self) -> str | None:
        """Why `merged` raises: a predicate whose subject is the layer, and what to do. None where it does not."""
        ...

    @property
    def can_prepack(self) -> bool:
        """Whether `prepack` returns a layer. With `backward` that layer stores W twice."""
        ...

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x Wᵀ + bias in x's dtype: (..., in) and (out,) -> (..., out). Not recorded for autograd."""
        ...

    def grad_input(self, grad: Tensor) -> Tensor:
        """grad W in grad's dtype, the gradient of `matmul` for x: (rows, out) -> (rows, in)."""
        ...

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """W (out, in) in `dtype`, on `device`. Only for reading: it may be the stored weight itself."""
        ...

    def merged(self, update: Callable[[Tensor], Tensor]) -> nn.Module:
        """The layer with the weight `update(W)` and the same bias object, to be installed in this one's stead.

        `update` gets W in `weight_dtype` and returns (out, in) in any dtype; the result is rounded once to the dtype of
        the stored weight. A plain layer is changed in place, an offloaded one stays offloaded.

        Raises:
            MergeRefusedError: with `merge_refusal`.
        """
        ...

    def prepack(self, *, backward: bool) -> nn.Module | None:
        """A frozen layer with the same values and bias object, laid out for this machine's products; None: it cannot.

        Args:
            backward: whether gradients flow through it, for which W is stored a second time.
        """
        ...


class Quantization(Protocol):
    """A way of rounding the weights of the decoder's linear layers while a model is loaded. Stateless."""

    name: str
    """The precision's name on the command line."""
    offloadable: bool
    """Whether its layers are plain `nn.Linear`, whose weights can be offloaded to main memory."""
    note: str | None
    """What a user must know of scores or speed, added to the model's notes."""

    def quantize(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> nn.Module:
        """A frozen `LinearLayer` from one layer's weight (out, in) and bias (out,) in the file's dtype."""
        ...


class StoredQuantization(Quantization, Protocol):
    """A quantisation whose layers can be written to a model's files as they are, in the place of their weights."""

    def empty(self, in_features: int, out_features: int, bias: bool, compute_dtype: torch.dtype) -> nn.Module:
        """A layer on the meta device with the shapes and dtypes of one from `quantize`.

        Its buffers and its bias are what files have of it.
        """
        ...
