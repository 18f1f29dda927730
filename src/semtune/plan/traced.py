"""The parts of a run that tell a plan's recorder where a stretch of like operations begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from semtune.contracts import Readout, TokenizedExample
from semtune.models.loaded import TransformersModel
from semtune.nn.packed_batch import PackedBatch
from semtune.plan.recorder import Recorder
from semtune.training.optimizer import Optimizer, ParameterGroup
from semtune.training.schedule import Schedule

FORWARDS = 3
"""Of an answer: texts begin, texts go on, and once more with full caches."""


class TracedWork:
    """The readout's loss, each forward in a section of its own."""

    def __init__(self, recorder: Recorder, readout: Readout) -> None:
        self._recorder, self._readout = recorder, readout

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        self._recorder.begin("forward")
        return self._readout.loss(batch)

    def num_targets(self, tokenized: TokenizedExample) -> int:
        return self._readout.num_targets(tokenized)


class TracedOptimizer(Optimizer):
    """Each pass over the parameters in a section of its own."""

    def __init__(self, recorder: Recorder, groups: Sequence[ParameterGroup]) -> None:
        super().__init__(groups, Schedule(total_steps=3, warmup_fraction=0.1))
        self._recorder = recorder

    def clip(self, max_norm: float) -> Tensor:
        self._recorder.begin("clip")
        return super().clip(max_norm)

    def step(self) -> None:
        self._recorder.begin("update")
        super().step()


class StopTracing(Exception):  # noqa: N818 - as StopIteration
    """An answer has gone on for long enough to know its memory."""


class TracedModel(TransformersModel):
    """Ends an answer after a few forwards, between which its caches grow to their largest."""

    def __init__(self, loaded: TransformersModel, recorder: Recorder) -> None:
        super().__init__(**{f.name: getattr(loaded, f.name) for f in dataclasses.fields(TransformersModel)})
        self._recorder = recorder
        self.packed = 0
        self._skipped = 0
        self._left: int | None = None

    def watch(self, max_new_tokens: int) -> None:
        """From here on, an answer is under way."""
        self._left, self._skipped = FORWARDS, max(0, max_new_tokens - FORWARDS)

    def hidden_states(
        self, input_ids: Tensor, batch: PackedBatch, query_indices: Sequence[int] | None = None
    ) -> Tensor:
        if self._left is None:
            return super().hidden_states(input_ids, batch, query_indices)
        if self._left == 0:
            raise StopTracing
        if self._left == FORWARDS - 1:
            for part in batch.parts or (batch,):
                if part.cache is not None and max(part.cache.lengths, default=0):
                    part.cache.grow(self._skipped)
        self._left -= 1
        self._recorder.begin("answer")
        return super().hidden_states(input_ids, batch, query_indices)

    def logits(self, hidden: Tensor) -> Tensor:
        self._recorder.begin("answer")
        return super().logits(hidden)

    def prepack_frozen(self, packed: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        self._recorder.begin("pack")
        self.packed = super().prepack_frozen(packed, memory_bytes=memory_bytes, backward=backward)
        return self.packed
