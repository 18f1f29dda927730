"""How low-rank adapters begin: LoRA's usual start, and starts that are computed from the weights.

With s the factor on B A, SVD_r(M) the best approximation of rank r of a matrix M, divided by s and split evenly between
B and A (U S V^T / s = (U sqrt(S / s)) (sqrt(S / s) V^T)), and q the rounding of the base's precision:

- kaiming (Hu et al. 2021, arXiv:2106.09685): A random, B = 0; the base keeps W.
- pissa (Meng et al. 2024, arXiv:2404.02948): B A = SVD_r(W); the base becomes q(W - s B A). Over a quantised base that
  is QPiSSA: only the residual, whose values are smaller, is rounded.
- loftq (Li et al. 2023, arXiv:2310.08659): B_0 A_0 = 0, then alternately Q_t = q(W - s B_(t-1) A_(t-1)) and
  B_t A_t = SVD_r(W - Q_t). With one iteration the base is the usual q(W). PEFT leaves s out, which is the same
  where alpha / r is 1 and else makes the product s times too large.
- eva is about the layers' inputs, not their weights: `_eva`.

W is the weight in the model's files. Over a quantised base, which has lost it, they are read once more, one tensor at a
time (`LoadedModel.original_weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semtune.contracts import LoadedModel, Quantization
from semtune.nn.linear import adapter_dtype, as_linear_layer
from semtune.nn.low_rank import Factors, scale_of
from semtune.nn.singular_values import principal_triples
from semtune.records import LowRankSettings
from semtune.registry import QUANTIZATIONS


@dataclass(frozen=True, slots=True)
class Start:
    """What one adapter begins with."""

    base: nn.Module
    """The linear layer below it."""
    factors: Factors | None = None
    """A and B; None: the usual ones."""
    subtracted: Factors | None = None
    """A' and B' where `base` has W - s B' A'; None: it has W."""
    rounded: bool = False
    """Whether A and B depend on how the base is rounded."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A linear layer whose start is computed from its weight."""

    base: nn.Module
    weight: Tensor
    """W (out, in) as the model's files have it, in the adapter's dtype. Only for reading."""
    quantization: Quantization | None
    compute_dtype: torch.dtype
    settings: LowRankSettings

    @property
    def scale(self) -> float:
        settings = self.settings
        return scale_of(settings.rank, settings.alpha, rank_stabilized=settings.scaling == "rslora")

    def principal(self, matrix: Tensor) -> Factors:
        """SVD_r(matrix)."""
        return principal_factors(matrix, self.settings.rank, self.scale, self.settings.svd_iterations)

    def lost_by(self, base: nn.Module) -> Tensor:
        """W less the weight of `base`."""
        return self.weight - as_linear_layer(base).dequantize(self.weight.dtype)

    def without(self, factors: Factors) -> nn.Module:
        """The base with q(W - s B A) as its weight."""
        layer = as_linear_layer(self.base)
        if self.quantization is None:
            return layer.merged(lambda weight: _subtract(weight.to(self.weight.dtype), factors, self.scale))
        residual = _subtract(self.weight, factors, self.scale)
        return self.quantization.quantize(residual, layer.bias, self.compute_dtype)


def starts(
    loaded: LoadedModel, bases: MutableMapping[str, nn.Module], settings: LowRankSettings
) -> Iterator[tuple[str, Start]]:
    """The start of each layer in `bases`, by its path and one at a time, in any order.

    A layer may be changed in place, and is taken out of `bases`: a replaced one is then freed before the next. Raises
    ModelError where the model's files cannot be read again.
    """
    compute = _COMPUTED.get(settings.start)
    if compute is None:
        for path in list(bases):
            yield path, Start(bases.pop(path))
        return
    quantization = quantization_of(settings)
    for path, weight in _weights(loaded, bases, quantized=quantization is not None):
        base = bases.pop(path)
        weight = weight.to(adapter_dtype(as_linear_layer(base).compute_dtype))
        yield path, compute(_Layer(base, weight, quantization, loaded.compute_dtype, settings))


def quantization_of(settings: LowRankSettings) -> Quantization | None:
    """The quantisation that the precision names; None: weights are stored in a dtype."""
    name = settings.precision
    quantization: Quantization | None = QUANTIZATIONS.get(name) if name in QUANTIZATIONS else None
    return quantization


@torch.no_grad()
def principal_factors(matrix: Tensor, rank: int, scale: float, iterations: int) -> Factors:
    """A (rank, in) and B (out, rank) with scale · B A = the sum of the `rank` largest singular triples of `matrix`.

    `matrix` (out, in) is fp32 or fp64; `iterations` as in `principal_triples`.
    """
    u, s, vh = principal_triples(matrix, rank, iterations)
    root = (s / scale).sqrt()
    return Factors((root.unsqueeze(1) * vh).contiguous(), (u * root).contiguous())


def _pissa(layer: _Layer) -> Start:
    factors = layer.principal(layer.weight)
    return Start(layer.without(factors), factors, subtracted=factors, rounded=layer.quantization is not None)


def _loftq(layer: _Layer) -> Start:
    base, subtracted = layer.base, None
    factors = layer.principal(layer.lost_by(base))
    for _ in range(layer.settings.loftq_iterations - 1):
        base, subtracted = layer.without(factors), factors
        factors = layer.principal(layer.lost_by(base))
    return Start(base, factors, subtracted, rounded=True)


_COMPUTED: Mapping[str, Callable[[_Layer], Start]] = {"pissa": _pissa, "loftq": _loftq}
"""Values of the option `start` that need the weights."""


def _weights(loaded: LoadedModel, bases: Mapping[str, nn.Module], *, quantized: bool) -> Iterator[tuple[str, Tensor]]:
    """Each layer's weight before any rounding to a quantisation, by path."""
    if quantized:
        yield from loaded.original_weights(list(bases))
        return
    for path in list(bases):
        layer = as_linear_layer(bases[path])
        yield path, layer.dequantize(layer.weight_dtype)


def _subtract(weight: Tensor, factors: Factors, scale: float) -> Tensor:
    return torch.addmm(weight, factors.b, factors.a, alpha=-scale)
