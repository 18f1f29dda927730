"""What an optimizer offers: the update rule of a registry entry, and the states that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor, nn

from semtune.training.schedule import Schedule

if TYPE_CHECKING:
    from semtune.training.optimizer import Optimizer

Mark = Callable[[str], None]
"""Called with the name of a part of the step ("clip", "update") that begins now; a plan records by it."""


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    parameters: Mapping[str, nn.Parameter]
    """Dotted module path -> parameter. Names are unique over all groups; the optimizer's state is stored under them."""
    learning_rate: float
    weight_decay: float = 0.0
    master_weights: bool = False
    """Whether 16-bit parameters have fp32 masters."""
    adamw: bool = False
    """Whether AdamW updates the parameters whatever the run's optimizer is, as long as that uses gradients: a
    readout's few, whose learning rate was chosen for AdamW."""


class States(Protocol):
    """The optimizer's state of some parameters of one group."""

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The parameters by name."""
        ...

    def accumulate(self) -> None:
        """Called after each backward: take over the gradients, or leave them where autograd adds them up."""
        ...

    def square_norm(self) -> Tensor:
        """The sum of squares of all gradients, a scalar in fp64."""
        ...

    def norm(self) -> Tensor:
        """The L2 norm over all gradients, a scalar in fp32 or fp64."""
        ...

    def scale(self, clip: Tensor) -> None:
        """Called once before `step` with the same `clip`: multiply the gradients by it, unless `step` does so."""
        ...

    def step(self, learning_rate: float, clip: Tensor) -> None:
        """Update every parameter that has a gradient, scaled by the scalar `clip`, and drop the gradients."""
        ...

    def take(self, name: str) -> Tensor:
        """Take over the gradient of one parameter; returns the sum of its squares, a scalar in fp64."""
        ...

    def step_one(self, name: str, learning_rate: float, clip: Tensor) -> None:
        """Update one parameter with the gradient that `take` has taken over, and drop the gradient."""
        ...

    def drop(self, name: str) -> None:
        """Forget the gradient of one parameter."""
        ...

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Parameter name → tensor name → tensor (a reference)."""
        ...

    def load_state_dict(self, saved: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Copy what `state_dict` returned. Raises ModelError where names, shapes or dtypes differ."""
        ...


class UpdateRule(Protocol):
    """How gradients become updates; one module-level instance for each entry of `registry.OPTIMIZERS`."""

    name: str
    Settings: type[Any]
    """The options: a frozen dataclass whose fields are declared with `records.option`."""
    uses_gradients: bool
    """Whether a step runs a backward; without one the update cannot be fused into it."""
    device_types: frozenset[str]
    """The types of device that it runs on: "cpu", "cuda", "mps"."""

    def states(self, group: ParameterGroup, settings: Any) -> list[States]:
        """The states of all parameters of `group`. `settings` is a `Settings`.

        A plan runs this on fake tensors: read no tensor's values.

        Raises OptionError.
        """
        ...

    def make(
        self, groups: Sequence[ParameterGroup], schedule: Schedule, choice: OptimizerChoice, mark: Mark
    ) -> Optimizer:
        """The optimizer of a run. Raises OptionError."""
        ...


@dataclass(frozen=True, slots=True)
class OptimizerChoice:
    """A rule with its options, and whether updates are fused into the backward."""

    rule: UpdateRule
    settings: Any = field(default=None)
    """A `rule.Settings`; None: its defaults."""
    fused_update: bool = False
    """Whether each parameter is updated as soon as its gradient is there."""
    fused_clip: Literal["tensor", "total"] = "tensor"
    """How gradients are clipped with `fused_update`; see `fused`."""

    def make(self, groups: Sequence[ParameterGroup], schedule: Schedule, mark: Mark | None = None) -> Optimizer:
        """The optimizer of a run. Raises OptionError."""
        return self.rule.make(groups, schedule, self, mark or ignore_mark)

    def of(self, group: ParameterGroup) -> list[States]:
        """The states of `group`. Raises OptionError."""
        return self.rule.states(group, self.rule.Settings() if self.settings is None else self.settings)


def ignore_mark(part: str) -> None:
    """The mark of a step that nobody records."""
