"""Adafactor (Shazeer & Stern 2018, algorithm 4, arXiv:1804.04235), without momentum, as torch.optim.Adafactor has it.

The second moment V of a matrix G (rows, columns) is stored as the means R of its rows and C of its columns alone:

    β2(t) = 1 - t^decay_rate;  R ← β2 R + (1 - β2) mean_columns(G²);  C ← β2 C + (1 - β2) mean_rows(G²)
    V = R Cᵀ / mean(R);  U = G / sqrt(V);  U ← U / max(1, RMS(U) / clip_threshold);  θ ← θ - α U - η λ θ

A vector has its whole second moment. α is the learning rate η, so that rates mean what they mean with AdamW, whose
updates have an RMS of about 1 too; with `scale_parameter` it is the paper's relative step,
max(10^-3, RMS(θ)) · min(η, 1 / sqrt(t)), whose rates are about a hundred times larger. V is kept above ε², with
torch's ε, the smallest step of the dtype; the paper adds 10^-30 to G² instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from semtune.nn.operator_registry import composite
from semtune.records import option
from semtune.training.chunks import chunks, masters_of
from semtune.training.masters import ParameterState, ParameterStates, zeros
from semtune.training.optimizers.base import GradientRule
from semtune.training.rule import ParameterGroup, States

SMALLEST_SCALE = 1e-3
"""The paper's ε2: the least RMS that a parameter counts with in the relative step."""


@dataclass(frozen=True, slots=True)
class AdafactorSettings:
    """The options of Adafactor."""

    scale_parameter: bool = option(
        False, help="The paper's relative step: the learning rate is multiplied by the parameter's RMS."
    )
    decay_rate: float = option(-0.8, below=0, at_least=-10, help="The second moment's decay is 1 - step^decay_rate.")
    clip_threshold: float = option(1.0, above=0, help="Largest RMS of an update before the learning rate.")


class AdafactorState(ParameterState):
    """A parameter with the means of its squared gradient by row and by column, or the whole second moment of a vector.

    Dimensions before the last two are matrices of their own.
    """

    def __init__(self, parameter: nn.Parameter, settings: AdafactorSettings, *, master: bool) -> None:
        super().__init__(parameter, master=master)
        self._settings = settings
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        self.row: Tensor | None = None
        """(matrices, rows, 1)."""
        self.column: Tensor | None = None
        """(matrices, 1, columns)."""
        self.square: Tensor | None = None
        """(numel,), of a vector."""
        if parameter.dim() > 1:
            rows, columns = parameter.shape[-2:]
            matrices = parameter.numel() // (rows * columns)
            self.row = zeros(matrices * rows, dtype, parameter).view(matrices, rows, 1)
            self.column = zeros(matrices * columns, dtype, parameter).view(matrices, 1, columns)
        else:
            self.square = zeros(parameter.numel(), dtype, parameter)

    def update(self, learning_rate: float, weight_decay: float, clip: Tensor) -> None:
        assert self.grad is not None
        s, weights = self._settings, (self.parameter.data, self.residual_bits, self.master_copy)
        step_size = min(learning_rate, 1 / math.sqrt(self.steps)) if s.scale_parameter else learning_rate
        scalars = (
            step_size, 1 - learning_rate * weight_decay, float(self.steps) ** s.decay_rate, s.clip_threshold,
            s.scale_parameter,
        )  # fmt: skip
        if self.square is not None:
            _update_vector(*weights, self.square, self.grad, clip, *scalars)
        else:
            _update_matrix(*weights, self.row, self.column, self.grad, clip, *scalars)

    def tensors(self) -> dict[str, Tensor]:
        stored = {"exp_avg_sq_row": self.row, "exp_avg_sq_column": self.column, "exp_avg_sq": self.square}
        return {**super().tensors(), **{name: tensor for name, tensor in stored.items() if tensor is not None}}


_SCALARS = "float step_size, float decay, float share, float clip_threshold, bool scale_parameter"


@composite(
    "adafactor_matrix_(Tensor(a!) weight, Tensor(b!)? residual_bits, Tensor(c!)? master_copy, Tensor(d!) row, "
    f"Tensor(e!) column, Tensor grad, Tensor clip, {_SCALARS}) -> ()",
    chunked=True,
)
def _update_matrix(
    weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None, row: Tensor, column: Tensor,
    grad: Tensor, clip: Tensor, step_size: float, decay: float, share: float, clip_threshold: float,
    scale_parameter: bool,
) -> None:  # fmt: skip
    """One update of one or more matrices in three passes, each over a few rows at a time.

    `share` is 1 - β2, `decay` 1 - η λ.
    """
    state, flat = masters_of(weight, residual_bits, master_copy), grad.flatten()
    (matrices, rows, _), columns, factor = row.shape, column.shape[-1], clip.to(row.dtype)
    parts = list(chunks(rows * columns, weight, columns)) if matrices == 1 else [slice(0, weight.numel())]

    def gradient(part: slice) -> Tensor:
        return (flat[part].to(row.dtype) * factor).view(matrices, -1, columns)

    row_means, column_means = [], torch.zeros_like(column)
    for part in parts:
        square = gradient(part).square_()
        row_means.append(square.mean(dim=-1, keepdim=True))
        column_means += square.sum(dim=-2, keepdim=True)
    row.lerp_(torch.cat(row_means, dim=-2), share)
    column.lerp_(column_means.div_(rows), share)
    smallest = torch.finfo(row.dtype).eps
    by_row = row / row.mean(dim=-2, keepdim=True).clamp_(min=smallest)

    def direction(part: slice) -> Tensor:
        own = by_row if matrices > 1 else by_row[:, part.start // columns : part.stop // columns]
        return (own * column).clamp_(min=smallest**2).rsqrt_().mul_(gradient(part)).flatten()

    update_square, weight_square = row.new_zeros(()), row.new_zeros(())
    for part in parts:
        update_square += direction(part).square_().sum()
        if scale_parameter:
            weight_square += state.master(part).square().sum()
    size = _step(update_square, weight_square, weight.numel(), step_size, clip_threshold, scale_parameter)
    for part in parts:
        state.write_back(state.master(part).mul_(decay).sub_(direction(part).mul_(size)), part)


def _update_vector(
    weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None, square: Tensor, grad: Tensor,
    clip: Tensor, step_size: float, decay: float, share: float, clip_threshold: float, scale_parameter: bool,
) -> None:  # fmt: skip
    """One update of a vector with its whole second moment; arguments as `_update_matrix`."""
    state = masters_of(weight, residual_bits, master_copy)
    scaled = grad.flatten().to(square.dtype) * clip.to(square.dtype)
    square.lerp_(scaled.square(), share)
    update = square.clamp(min=torch.finfo(square.dtype).eps ** 2).rsqrt_().mul_(scaled)
    master = state.master()
    squares = (update.square().sum(), master.square().sum())
    size = _step(*squares, weight.numel(), step_size, clip_threshold, scale_parameter)
    state.write_back(master.mul_(decay).sub_(update.mul_(size)))


def _step(
    update_square: Tensor, weight_square: Tensor, numel: int, step_size: float, clip_threshold: float,
    scale_parameter: bool,
) -> Tensor:  # fmt: skip
    """The factor of the update, a scalar: the step size over what brings the update's RMS to the threshold."""
    size = step_size / ((update_square / numel).sqrt() / clip_threshold).clamp_(min=1)
    return size * (weight_square / numel).sqrt().clamp_(min=SMALLEST_SCALE) if scale_parameter else size


class Adafactor(GradientRule):
    """Two vectors for every matrix in place of AdamW's two moments."""

    name: ClassVar[str] = "adafactor"
    Settings: ClassVar[type[Any]] = AdafactorSettings

    def states(self, group: ParameterGroup, settings: AdafactorSettings) -> list[States]:
        """One kind of state for all parameters."""
        master = group.master_weights
        states = {name: AdafactorState(p, settings, master=master) for name, p in group.parameters.items()}
        return [ParameterStates(states, group.weight_decay)]


ADAFACTOR = Adafactor()
