"""AdamW with fp32 masters where no compiled operator updates them, as on CUDA: many parameters in one go.

Parameter by parameter the update is some twenty kernels, each of which reads and writes the whole parameter, and a
model has hundreds of parameters. Here up to `BUCKET_ELEMENTS` neighbouring elements are joined into one fp32 tensor
and updated by torch's fused AdamW, so that the number of kernels does not grow with the number of parameters and the
moments are read and written once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from semtune.training.masters import BETAS, EPS, Flat, ParameterState, ParameterStates, allocated, join, split
from semtune.training.wide import wide

BUCKET_ELEMENTS = 1 << 24
"""Elements that are updated together: their copies in fp32 take some 24 bytes each, 0.4 GB."""


class Piece(NamedTuple):
    """Elements of one parameter, flattened: views."""

    weight: Tensor
    grad: Tensor


class BucketedMasters(ParameterStates):
    """States of bf16 parameters whose moments and residual bits lie one behind the other.

    Args:
        states: in the order in which `flat` stores them.
    """

    def __init__(self, states: Mapping[str, ParameterState], weight_decay: float, flat: Flat) -> None:
        super().__init__(states, weight_decay)
        self._flat = flat
        sizes = [state.parameter.numel() for state in self.states.values()]
        self._starts = dict(zip(self.states, itertools.accumulate(sizes, initial=0), strict=False))

    def square_norm(self) -> Tensor:
        """The sum of squares of all gradients, a scalar in fp64 (see `wide`)."""
        grads = [state.grad for state in self.states.values() if state.grad is not None]
        if not grads:
            return super().square_norm()
        return wide(torch.stack(torch._foreach_norm(grads, 2.0, dtype=torch.float32))).square().sum()

    @torch.no_grad()
    def step(self, learning_rate: float, clip: Tensor) -> None:
        """Update every parameter that has a gradient, which `clip` multiplies, and drop the gradients."""
        updated = [name for name, state in self.states.items() if state.grad is not None]
        for names in _runs(updated, self._starts, self.states):
            self._update(names, learning_rate, clip)

    @torch.no_grad()
    def step_one(self, name: str, learning_rate: float, clip: Tensor) -> None:
        """Update one parameter with the gradient that `take` has taken over."""
        self._update([name], learning_rate, clip)

    def _update(self, names: Sequence[str], learning_rate: float, clip: Tensor) -> None:
        """Update neighbouring parameters, all of which have made the same number of steps."""
        states = [self.states[name] for name in names]
        start = self._starts[names[0]]
        for state in states:
            state.steps += 1
        steps = torch.full((), states[0].steps - 1, dtype=torch.float32, device=self._flat.mean.device)
        for pieces in _buckets(states):
            end = start + sum(piece.weight.numel() for piece in pieces)
            self._update_bucket(pieces, slice(start, end), learning_rate, clip, steps.clone())
            start = end
        for state in states:
            state.grad = None

    def _update_bucket(
        self, pieces: Sequence[Piece], place: slice, learning_rate: float, clip: Tensor, steps: Tensor
    ) -> None:
        """Update what lies at `place` of the flat tensors; `steps` updates were made before."""
        residual_bits = self._flat.residual_bits[place]
        master = join(torch.cat([piece.weight for piece in pieces]), residual_bits)
        grad = torch.cat([piece.grad for piece in pieces]).float() * clip
        adamw(
            [master], [grad], [self._flat.mean[place]], [self._flat.square[place]], [], [steps], fused=True,
            amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=learning_rate, weight_decay=self.weight_decay, eps=EPS,
            maximize=False,
        )  # fmt: skip
        rounded, residual = split(master)
        residual_bits.copy_(residual)
        weights = [piece.weight for piece in pieces]
        torch._foreach_copy_(weights, list(torch.split(rounded, [weight.numel() for weight in weights])))


def bucketed_masters(parameters: Mapping[str, nn.Parameter], weight_decay: float) -> BucketedMasters:
    """States of bf16 parameters with fp32 masters and moments."""
    states, flat = allocated(parameters)
    return BucketedMasters(states, weight_decay, flat)


def _runs(names: Sequence[str], starts: Mapping[str, int], states: Mapping[str, ParameterState]) -> Iterator[list[str]]:
    """`names` in lists of parameters that lie one behind the other and have made the same number of steps."""
    run: list[str] = []
    for name in names:
        if run:
            last = states[run[-1]]
            follows = starts[run[-1]] + last.parameter.numel() == starts[name]
            if not follows or last.steps != states[name].steps:
                yield run
                run = []
        run.append(name)
    if run:
        yield run


def _buckets(states: Sequence[ParameterState]) -> Iterator[list[Piece]]:
    """The parameters' elements and gradients in pieces, `BUCKET_ELEMENTS` together but for the last."""
    bucket: list[Piece] = []
    room = BUCKET_ELEMENTS
    for state in states:
        assert state.grad is not None
        weight, grad = state.parameter.data.view(-1), state.grad.reshape(-1)
        done = 0
        while done < weight.numel():
            count = min(room, weight.numel() - done)
            part = slice(done, done + count)
            bucket.append(Piece(weight[part], grad[part]))
            done, room = done + count, room - count
            if not room:
                yield bucket
                bucket, room = [], BUCKET_ELEMENTS
    if bucket:
        yield bucket
