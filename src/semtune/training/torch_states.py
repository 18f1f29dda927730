"""Parameters that torch's own fused AdamW updates, as states of semtune's optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from semtune.errors import ModelError
from semtune.training.masters import BETAS, EPS, square_sum
from semtune.training.wide import wide


class TorchStates:
    """AdamW of torch over parameters that have neither masters nor moments of another kind than their own dtype."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], weight_decay: float) -> None:
        self.parameters = dict(parameters)
        """The parameters by name."""
        # The learning rate is set at each step.
        self._adam = torch.optim.AdamW(
            list(self.parameters.values()), lr=0.0, betas=BETAS, eps=EPS, weight_decay=weight_decay, fused=True
        )

    def accumulate(self) -> None:
        """Does nothing: autograd adds the gradients of micro-batches up."""

    def square_norm(self) -> Tensor:
        """The sum of squares of all gradients, a scalar in fp64."""
        return wide(self.norm()).square()

    def norm(self) -> Tensor:
        """The L2 norm over all gradients, a scalar in their dtype."""
        grads = self._grads()
        device = next(iter(self.parameters.values())).device
        return torch.nn.utils.get_total_norm(grads) if grads else torch.zeros((), device=device)

    @torch.no_grad()
    def scale(self, clip: Tensor) -> None:
        """Multiply every gradient by `clip`."""
        if grads := self._grads():
            torch._foreach_mul_(grads, clip.to(grads[0].dtype))

    def step(self, learning_rate: float, clip: Tensor) -> None:
        """Update every parameter that has a gradient, and drop the gradients; `scale` has multiplied them by `clip`."""
        self._step(list(self.parameters.values()), learning_rate)

    def take(self, name: str) -> Tensor:
        """The sum of squares of one parameter's gradient, a scalar in fp64; the gradient stays in the parameter."""
        grad = self.parameters[name].grad
        assert grad is not None
        return square_sum(grad)

    @torch.no_grad()
    def step_one(self, name: str, learning_rate: float, clip: Tensor) -> None:
        """Update one parameter with its gradient, which `clip` multiplies, and drop the gradient."""
        parameter = self.parameters[name]
        assert parameter.grad is not None
        parameter.grad.mul_(clip.to(parameter.grad.dtype))
        self._step([parameter], learning_rate)

    def drop(self, name: str) -> None:
        """Forget the gradient of one parameter."""
        self.parameters[name].grad = None

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Parameter name → tensor name → tensor (a reference); empty for a parameter without an update so far."""
        return {name: dict(self._adam.state.get(parameter, {})) for name, parameter in self.parameters.items()}

    def load_state_dict(self, saved: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Copy what `state_dict` returned. Raises ModelError where names, shapes or dtypes differ."""
        for name, parameter in self.parameters.items():
            _check(name, parameter, saved[name])
            tensors = {key: tensor.to(parameter.device, copy=True) for key, tensor in saved[name].items()}
            self._adam.state[parameter] = tensors

    def _grads(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]

    def _step(self, parameters: list[nn.Parameter], learning_rate: float) -> None:
        (group,) = self._adam.param_groups
        group["lr"], group["params"] = learning_rate, parameters
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)


def _check(name: str, parameter: nn.Parameter, saved: Mapping[str, Tensor]) -> None:
    """Raises ModelError where `saved` is not the state of torch's AdamW for this parameter."""
    if saved and saved.keys() != {"step", "exp_avg", "exp_avg_sq"}:
        raise ModelError(
            f"The optimizer state of {name} holds {', '.join(sorted(saved))}, which is not that of AdamW in "
            f"{parameter.dtype}; go on with the optimizer and precision that wrote it."
        )
    for key, tensor in saved.items():
        if key != "step" and (tensor.shape, tensor.dtype) != (parameter.shape, parameter.dtype):
            raise ModelError(
                f"{key} in the optimizer state of {name} is {tensor.dtype} {tuple(tensor.shape)}, not "
                f"{parameter.dtype} {tuple(parameter.shape)}; go on with the model and method that wrote it."
            )
