"""The update fused into the backward (LOMO, Lv et al. 2023, arXiv:2306.09782): a gradient lives until its own update.

Autograd calls a hook as soon as a parameter's gradient is whole; the hook updates the parameter and drops the gradient.
So at most a few gradients exist at a time, instead of all. LOMO's rule is plain SGD; here every rule with gradients has
its whole state, and where clipping does not act the weights are the same to the bit as without the fusion.

Clipping needs the norm over all gradients before the first update, when most gradients do not exist yet. Two choices:

- "tensor" (the default): each gradient is clipped to `max_grad_norm` by itself. It takes no time, acts in the very step
  that has the large gradient, and changes nothing in a step whose total norm is within bounds. A step over the bound is
  scaled down less than by the total norm, up to sqrt(number of parameters) times. The norm of the step before would
  come too late for a spike, and would hold back the step after it.
- "total": LOMO's own way, a forward and a backward for the norm alone, then both again with the updates: the results
  of the unfused step also where clipping acts, for twice the time of forward and backward.

Gradients of several micro-batches cannot be added up, as each is used at once: one micro-batch is one step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from semtune.errors import OptionError
from semtune.training.optimizer import Losses, Optimizer, clip_factor, finite_figures
from semtune.training.rule import Mark, OptimizerChoice, ParameterGroup, States, ignore_mark
from semtune.training.schedule import Schedule

_OnGradient = Callable[[States, str, float], None]
"""Called with a parameter's states, its name and its learning rate, once its gradient is whole."""


class FusedOptimizer(Optimizer):
    """An optimizer that updates each parameter within the backward. Arguments as `Optimizer`; `choice` is needed."""

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        schedule: Schedule,
        choice: OptimizerChoice,
        mark: Mark = ignore_mark,
    ) -> None:
        super().__init__(groups, schedule, choice, mark)
        self._total = choice.fused_clip == "total"

    def minimise(self, losses: Losses, max_norm: float) -> tuple[float, float]:
        """One step of a single micro-batch; returns its loss and the gradient's norm before clipping.

        Raises DivergedError before any weight changes where the loss is not finite, or, with the clipping "total", the
        norm. With "tensor" a norm that is not finite is seen after the updates.
        """
        if len(losses) != 1:
            raise OptionError("A fused update has no gradients to add up; give --accumulation-steps 1.")
        clip: Tensor | None = None
        if self._total:
            with torch.random.fork_rng():  # the second forward draws the same dropout
                loss = losses[0]()
                norm = self._measured(loss)
            finite_figures(loss.detach(), norm)
            clip = clip_factor(norm, max_norm)
            del loss
        loss = losses[0]()
        finite_figures(loss.detach(), loss.new_zeros(()))
        squares: list[Tensor] = []

        def update(states: States, name: str, rate: float) -> None:
            square = states.take(name)
            squares.append(square)
            self._mark("update")
            states.step_one(name, rate, clip_factor(square.sqrt(), max_norm) if clip is None else clip)
            self._mark("backward")

        self._backward(loss, update)
        self._schedule.advance()
        return finite_figures(loss.detach(), _norm(squares))

    def _measured(self, loss: Tensor) -> Tensor:
        """The norm over all gradients, a scalar in fp64, by a backward that keeps none of them."""
        squares: list[Tensor] = []

        def measure(states: States, name: str, rate: float) -> None:
            squares.append(states.take(name))
            states.drop(name)

        self._backward(loss, measure)
        return _norm(squares)

    def _backward(self, loss: Tensor, on_gradient: _OnGradient) -> None:
        with self._hooks(on_gradient):
            loss.backward()  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def _hooks(self, on_gradient: _OnGradient) -> Iterator[None]:
        """Inside, autograd calls `on_gradient` for every parameter.

        The hooks exist only here: they hold on to the optimizer, whose state must be gone once training ends.
        """
        factor = self._schedule.factor()
        handles = []
        for states, rate in self._states:
            for name, parameter in states.parameters.items():
                hook = _hook(on_gradient, states, name, rate * factor)
                handles.append(parameter.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _hook(on_gradient: _OnGradient, states: States, name: str, rate: float) -> Callable[[nn.Parameter], None]:
    return lambda parameter: on_gradient(states, name, rate)


def _norm(squares: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(squares)).sum().sqrt() if squares else torch.zeros((), dtype=torch.float64)
