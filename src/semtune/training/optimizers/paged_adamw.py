"""AdamW with paged moments (Dettmers et al. 2023, QLoRA, section 3, arXiv:2305.14314), by bitsandbytes, on CUDA.

The moments lie in CUDA's managed memory: the driver moves their pages to main memory where the GPU is full, and back
for the update, so that a peak of activations evicts them in place of failing. bitsandbytes allocates them and updates
with its kernel; parameters of fewer than 100,000 elements have AdamW's state, as there. 16-bit masters are semtune's:
an update joins weight and residual bits to an fp32 tensor for its duration. Managed memory needs CUDA: on a CPU the
rule is refused, as what ran there would be AdamW under another name.

A plan counts the moments for main memory, not for the GPU.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from semtune.errors import OptionError
from semtune.nn.cuda_path import on_cuda
from semtune.nn.operator_registry import composite, moved
from semtune.training.masters import BETAS, EPS, ParameterState, ParameterStates
from semtune.training.optimizers.adamw import ADAMW
from semtune.training.optimizers.base import GradientRule, divided
from semtune.training.rule import ParameterGroup, States

SMALLEST = 100_000
"""Parameters with fewer elements are not paged, as in bitsandbytes."""


class PagedState(ParameterState):
    """A parameter with both moments in managed memory, fp32 (numel,)."""

    def __init__(self, parameter: nn.Parameter, *, master: bool) -> None:
        super().__init__(parameter, master=master)
        self.mean = _managed(parameter)
        self.square = _managed(parameter)

    def update(self, learning_rate: float, weight_decay: float, clip: Tensor) -> None:
        assert self.grad is not None
        has_master = self.residual_bits is not None or self.master_copy is not None
        weight = self.master() if has_master else self.parameter.data.view(-1)
        grad = (self.grad.flatten().to(weight.dtype) * clip.to(weight.dtype)).contiguous()
        _update(weight, self.mean, self.square, grad, self.steps, learning_rate, weight_decay)
        if has_master:
            self.write_back(weight)

    def tensors(self) -> dict[str, Tensor]:
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the kernels write to managed memory behind torch's back
        return {**super().tensors(), "exp_avg": self.mean, "exp_avg_sq": self.square}


def _managed(like: Tensor) -> Tensor:
    """(numel,) fp32 zeros in managed memory."""
    zeros: Tensor = _managed_zeros(like.numel(), like)
    return zeros


@composite(
    "managed_zeros(int numel, Tensor like) -> Tensor",
    # A tensor of the meta device counts for no memory in a plan of a GPU: the pages lie outside it.
    outputs=lambda numel, like: torch.empty(numel, dtype=torch.float32, device="meta" if on_cuda(like) else "cpu"),
    cost=lambda *arguments, out: moved(out=out),
)
def _managed_zeros(numel: int, like: Tensor) -> Tensor:
    if like.device.type != "cuda":
        return torch.zeros(numel, dtype=torch.float32)
    from bitsandbytes.functional import get_paged

    pages: Tensor = get_paged(numel, dtype=torch.float32, device=like.device)  # type: ignore[no-untyped-call]
    return pages.zero_()


@composite(
    "paged_adamw_(Tensor(a!) weight, Tensor(b!) mean, Tensor(c!) square, Tensor grad, int step, float learning_rate, "
    "float weight_decay) -> ()",
    cost=moved,
)
def _update(
    weight: Tensor, mean: Tensor, square: Tensor, grad: Tensor, step: int, learning_rate: float, weight_decay: float
) -> None:
    """One update by bitsandbytes' operator; weight and grad of one dtype, (numel,)."""
    import bitsandbytes  # noqa: F401 - registers the operator

    torch.ops.bitsandbytes.optimizer_update_32bit(
        "adam", grad, weight, mean, square, None, 0.0, 0.0, *BETAS, 0.0, 0.0, EPS, weight_decay, step, learning_rate,
        1.0,
    )  # fmt: skip


class PagedAdamW(GradientRule):
    """AdamW whose large moments are paged."""

    name: ClassVar[str] = "paged-adamw"
    device_types: ClassVar[frozenset[str]] = frozenset({"cuda"})

    def states(self, group: ParameterGroup, settings: Any) -> list[States]:
        """Paged ones first, then AdamW's. Raises OptionError without bitsandbytes."""
        if importlib.util.find_spec("bitsandbytes") is None:
            raise OptionError(
                "The optimizer paged-adamw needs bitsandbytes; run pip install bitsandbytes, or give "
                "--optimizer adamw-8bit."
            )
        large, small = divided(group, lambda p: p.numel() >= SMALLEST)
        made: list[States] = []
        if large:
            states = {name: PagedState(p, master=group.master_weights) for name, p in large.items()}
            made.append(ParameterStates(states, group.weight_decay))
        if small:
            made += ADAMW.states(dataclasses.replace(group, parameters=small), None)
        return made


PAGED_ADAMW = PagedAdamW()
