"""APOLLO (Zhu et al. 2024, "SGD-like Memory, AdamW-level Performance", algorithm 1, arXiv:2412.05270).

AdamW's moments of a matrix are kept for a random projection of its gradient to `rank` rows; only the size of AdamW's
step is read from them, channel by channel, and applied to the gradient itself. G (m, n) with m ≤ n, else transposed:

    R = P G, P ~ N(0, 1/rank) of shape (rank, m), drawn anew every `update_gap` updates
    M ← β1 M + (1 - β1) R;  V ← β2 V + (1 - β2) R²;  D = M̂ / (sqrt(V̂) + ε)
    s_j = ‖D[:, j]‖ / ‖R[:, j]‖ of each column j, or with scale_by "tensor" one s = ‖D‖ / ‖R‖  (APOLLO-Mini)
    U = G diag(s);  U ← U · γ ‖U of the update before‖ / ‖U‖ where it is longer than that;  θ ← θ - η α U - η λ θ

P is drawn from a stored seed in each update and not kept. The last line but one is the norm-growth limiter with
γ = 1.01, as in the paper. α is `scale`. A projected column has about the length of the whole one, as E‖P g‖² = ‖g‖²,
while D has `rank` rows of about 1 and AdamW's step has m: without α updates are sqrt(rank / m) times AdamW's (the
paper's theorem). By default α is sqrt(m / rank), which makes them as large as AdamW's, so that its learning rates fit.
Vectors, and matrices with a dimension of at most `rank`, have AdamW's state.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from semtune.errors import OptionError
from semtune.nn.dropout import draw_seed
from semtune.nn.operator_registry import composite
from semtune.records import option
from semtune.records.options import MOST
from semtune.training.chunks import chunks, masters_of
from semtune.training.masters import BETAS, EPS, ParameterState, ParameterStates, zeros
from semtune.training.optimizers.adamw import ADAMW
from semtune.training.optimizers.base import GradientRule, divided
from semtune.training.rule import ParameterGroup, States

NORM_GROWTH = 1.01
"""γ: the update's norm grows by this factor at most from one update to the next."""
_TINY = 1e-8


@dataclass(frozen=True, slots=True)
class ApolloSettings:
    """The options of APOLLO."""

    rank: int = option(32, at_least=1, at_most=MOST, help="Rows that a matrix's gradient is projected to.")
    scale: float | None = option(
        None, above=0, help="Factor of the updates; without it as large as AdamW's, sqrt(smaller dimension / rank)."
    )
    scale_by: Literal["channel", "tensor"] = option(
        "channel", help="channel: a factor for each row or column; tensor: one a matrix (APOLLO-Mini, with rank 1)."
    )
    update_gap: int = option(200, unit="updates", at_least=1, at_most=MOST, help="Updates with the same projection.")


class ApolloState(ParameterState):
    """A matrix with the moments of its projected gradient: fp32 (rank, channels), (fp64 for an fp64 matrix)."""

    def __init__(self, parameter: nn.Parameter, settings: ApolloSettings, *, master: bool) -> None:
        super().__init__(parameter, master=master)
        self._settings = settings
        self._dtype = torch.promote_types(parameter.dtype, torch.float32)
        self._smaller, channels = sorted(parameter.shape)
        size = settings.rank * channels
        self.mean = zeros(size, self._dtype, parameter).view(settings.rank, channels)
        self.square = zeros(size, self._dtype, parameter).view(settings.rank, channels)
        self.norm = zeros(1, self._dtype, parameter)
        """Norm of the last update before `scale`; 0 before the first."""
        self.seed = torch.tensor(draw_seed(), dtype=torch.int64)
        """Of the projections."""

    def update(self, learning_rate: float, weight_decay: float, clip: Tensor) -> None:
        assert self.grad is not None
        s = self._settings
        scale = math.sqrt(self._smaller / s.rank) if s.scale is None else s.scale
        corrections = [1 - beta**self.steps for beta in BETAS]
        _update(
            self.parameter.data, self.residual_bits, self.master_copy, self.mean, self.square, self.norm, self.grad,
            clip, self.projection(), learning_rate * scale, 1 - learning_rate * weight_decay, *corrections,
            s.scale_by == "channel",
        )  # fmt: skip

    def projection(self) -> Tensor:
        """P of the present update, (rank, smaller dimension)."""
        device, drawn = self.parameter.device, (self.steps - 1) // self._settings.update_gap
        generator = torch.Generator(device).manual_seed((int(self.seed) + drawn) % 2**63)
        shape = (self._settings.rank, self._smaller)
        return torch.randn(shape, generator=generator, dtype=self._dtype, device=device) / math.sqrt(shape[0])

    def tensors(self) -> dict[str, Tensor]:
        own = {"exp_avg": self.mean, "exp_avg_sq": self.square, "update_norm": self.norm, "projection_seed": self.seed}
        return {**super().tensors(), **own}


@composite(
    "apollo_(Tensor(a!) weight, Tensor(b!)? residual_bits, Tensor(c!)? master_copy, Tensor(d!) mean, "
    "Tensor(e!) square, Tensor(f!) norm, Tensor grad, Tensor clip, Tensor projection, float step_size, float decay, "
    "float mean_correction, float square_correction, bool by_channel) -> ()",
    chunked=True,
)
def _update(
    weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None, mean: Tensor, square: Tensor,
    norm: Tensor, grad: Tensor, clip: Tensor, projection: Tensor, step_size: float, decay: float,
    mean_correction: float, square_correction: float, by_channel: bool,
) -> None:  # fmt: skip
    """One update, in three passes over a few rows at a time: the projection, the norm, the weights.

    `step_size` is η α, `decay` 1 - η λ, the corrections 1 - β^t.
    """
    state, flat, (rows, columns) = masters_of(weight, residual_bits, master_copy), grad.flatten(), weight.shape
    parts, factor, wide = list(chunks(weight.numel(), weight, columns)), clip.to(mean.dtype), rows <= columns

    def gradient(part: slice) -> Tensor:
        return (flat[part].to(mean.dtype) * factor).view(-1, columns)

    def of_rows(part: slice) -> slice:
        return slice(part.start // columns, part.stop // columns)

    projected = torch.zeros_like(mean)  # (rank, channels)
    for part in parts:
        own = of_rows(part)
        if wide:
            projected += projection[:, own] @ gradient(part)
        else:
            projected[:, own] = projection @ gradient(part).t()
    mean.lerp_(projected, 1 - BETAS[0])
    square.lerp_(projected.square(), 1 - BETAS[1])
    adapted = (mean / mean_correction) / ((square / square_correction).sqrt_() + EPS)
    dims = [0] if by_channel else [0, 1]
    lengths = [torch.linalg.vector_norm(x, dim=dims, keepdim=True) for x in (adapted, projected)]
    factors = (lengths[0] / (lengths[1] + _TINY)).expand(1, mean.shape[1])  # (1, channels)

    def step(part: slice) -> Tensor:
        return gradient(part).mul_(factors if wide else factors[:, of_rows(part)].t())

    total = norm.new_zeros(1)
    for part in parts:
        total += step(part).square_().sum()
    length = total.sqrt()
    allowed = torch.where(norm > 0, NORM_GROWTH * (norm + _TINY), length)
    limit = (allowed / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp_(max=1)
    norm.copy_(length * limit)
    for part in parts:
        change = step(part).flatten().mul_(limit * step_size)
        state.write_back(state.master(part).mul_(decay).sub_(change), part)


class Apollo(GradientRule):
    """Projected moments for matrices that are larger than the rank in both dimensions, AdamW's for all else."""

    name: ClassVar[str] = "apollo"
    Settings: ClassVar[type[Any]] = ApolloSettings

    def states(self, group: ParameterGroup, settings: ApolloSettings) -> list[States]:
        """Raises OptionError where no parameter of the group is projected."""
        projected, others = divided(group, lambda p: p.dim() == 2 and min(p.shape) > settings.rank)
        if not projected:
            raise OptionError(
                f"Every trained matrix has a dimension of at most {settings.rank}, so APOLLO would project none and be "
                "AdamW; give --optimizer-option rank=… below the adapters' rank, or --optimizer adamw."
            )
        states = {name: ApolloState(p, settings, master=group.master_weights) for name, p in projected.items()}
        made: list[States] = [ParameterStates(states, group.weight_decay)]
        if others:
            made += ADAMW.states(dataclasses.replace(group, parameters=others), None)
        return made


APOLLO = Apollo()
