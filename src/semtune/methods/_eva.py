"""EVA: adapters begin with the directions in which their inputs vary most (Paischer et al. 2024, arXiv:2410.07170).

A is the first r principal components of a layer's inputs over some training batches, rows of norm 1, and B is 0, so the
start has no effect on outputs. The components come from incremental PCA (Ross et al. 2008), as in the authors' code
and PEFT: a batch is stacked under the components so far, so no more than one batch of inputs is in memory. Layers that
share an input (q, k and v) share its components. The paper can also move ranks between layers; here each has the same
(its rho = 1), as for every other start.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from semtune.nn.low_rank import LowRankLinear
from semtune.nn.singular_values import principal_triples
from semtune.records import LowRankSettings

_MOST_ITERATIONS = 4
"""Power iterations of the randomised SVD, as in PEFT: an input's singular values fall faster than a weight's."""


@torch.no_grad()
def start_on_inputs(
    adapters: Mapping[str, LowRankLinear], settings: LowRankSettings, forwards: Iterator[tuple[int, Callable[[], None]]]
) -> None:
    """Set A of each adapter from its inputs in `settings.eva_batches` forwards (`contracts.Method`).

    Where the inputs have fewer tokens than the rank, the other rows of A stay as they are.
    """
    watcher = _Watcher(settings.rank, min(settings.svd_iterations, _MOST_ITERATIONS))
    handles = [
        adapter.register_forward_pre_hook(lambda _, inputs, path=path: watcher.see(path, inputs[0]))
        for path, adapter in adapters.items()
    ]
    try:
        for tokens, forward in itertools.islice(forwards, settings.eva_batches):
            watcher.begin(tokens)
            forward()
    finally:
        for handle in handles:
            handle.remove()
    for path, adapter in adapters.items():
        components = watcher.components_of(path)
        if components is not None:
            adapter.lora_A[: len(components)] = components.to(adapter.lora_A.dtype)


class PrincipalComponents:
    """Incremental PCA of rows (tokens, in), centred, as in scikit-learn's IncrementalPCA.

    Args:
        count: number of components.
        iterations: of the randomised SVD; 0: the exact one.
    """

    def __init__(self, count: int, iterations: int) -> None:
        self._count, self._iterations = count, iterations
        self._rows = 0
        self._mean: Tensor | None = None
        self._scaled: Tensor | None = None
        """(count, in): components times their singular values."""
        self.components: Tensor | None = None
        """Orthonormal (count, in), the direction of most variance first; fewer rows if there were fewer inputs."""

    def update(self, rows: Tensor) -> None:
        """Add rows (tokens, in), at least one."""
        mean, count = rows.mean(dim=0), len(rows)
        stacked = rows - mean
        if self._mean is not None and self._scaled is not None:
            weight = math.sqrt(self._rows * count / (self._rows + count))
            stacked = torch.cat((self._scaled, stacked, (weight * (self._mean - mean)).unsqueeze(0)))
            mean = (self._rows * self._mean + count * mean) / (self._rows + count)
        _, singular, directions = principal_triples(stacked, self._count, self._iterations)
        self._mean, self._rows = mean, self._rows + count
        self.components, self._scaled = directions, singular.unsqueeze(1) * directions


class _Watcher:
    """Principal components of the inputs of each layer, one object for layers that share an input."""

    def __init__(self, rank: int, iterations: int) -> None:
        self._rank, self._iterations = rank, iterations
        self._found: dict[str, PrincipalComponents] = {}
        self._last: tuple[Any, PrincipalComponents] | None = None
        """The input that was seen last, and its components."""
        self._done: set[int] = set()
        """Components that have the present batch already, by identity."""
        self._tokens = 0

    def begin(self, tokens: int) -> None:
        """Begin a batch of so many tokens; rows beyond them are padding."""
        self._tokens, self._last = tokens, None
        self._done.clear()

    def see(self, path: str, x: Tensor) -> None:
        """Take the input (..., in) of the layer at `path`."""
        found = self._found.get(path)
        if found is None:
            shared = self._last is not None and self._last[0] is x
            found = self._last[1] if self._last is not None and shared else self._new()
            self._found[path] = found
        self._last = (x, found)
        if id(found) not in self._done:
            rows = x.detach().reshape(-1, x.shape[-1])[: self._tokens]
            found.update(rows.to(torch.promote_types(rows.dtype, torch.float32)))
            self._done.add(id(found))

    def components_of(self, path: str) -> Tensor | None:
        """(rank, in) or fewer rows; None where the layer was not called."""
        found = self._found.get(path)
        return None if found is None else found.components

    def _new(self) -> PrincipalComponents:
        return PrincipalComponents(self._rank, self._iterations)
