"""Parts of a run (model, loss) that begin a new section of the trace at each call."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from semtune.contracts import Readout, TokenizedExample
from semtune.models.loaded import TransformersModel
from semtune.nn.packed_batch import PackedBatch
from semtune.plan.recorder import Recorder

FORWARDS = 3
"""Forwards of a traced prediction: prefill, one decoding step, and one with caches at their full length."""


class TracedWork:
    """The readout's loss; each call begins a section "forward"."""

    def __init__(self, recorder: Recorder, readout: Readout) -> None:
        self._recorder, self._readout = recorder, readout

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        self._recorder.begin("forward")
        return self._readout.loss(batch)

    def num_targets(self, tokenized: TokenizedExample) -> int:
        return self._readout.num_targets(tokenized)


class StopTracing(Exception):  # noqa: N818 - as StopIteration
    """Ends a prediction once its peak has been traced."""


class TracedModel(TransformersModel):
    """A model that stops a prediction after `FORWARDS` forwards.

    The caches grow to their full length before the last of them, so that it has the memory of the last forward of all.
    """

    def __init__(self, loaded: TransformersModel, recorder: Recorder) -> None:
        super().__init__(**{f.name: getattr(loaded, f.name) for f in dataclasses.fields(TransformersModel)})
        self._recorder = recorder
        self.prepacked = 0
        """Number of prepacked linear layers."""
        self._skipped_tokens = 0
        self._forwards_left: int | None = None

    def trace_prediction(self, max_new_tokens: int) -> None:
        """Begin a prediction, whose forwards belong to sections "answer"."""
        self._forwards_left, self._skipped_tokens = FORWARDS, max(0, max_new_tokens - FORWARDS)

    def hidden_states(
        self, input_ids: Tensor, batch: PackedBatch, query_indices: Sequence[int] | None = None
    ) -> Tensor:
        if self._forwards_left is None:
            return super().hidden_states(input_ids, batch, query_indices)
        if self._forwards_left == 0:
            raise StopTracing
        if self._forwards_left == FORWARDS - 1:
            for part in batch.parts or (batch,):
                if part.cache is not None and max(part.cache.lengths, default=0):
                    part.cache.grow(self._skipped_tokens)
        self._forwards_left -= 1
        self._recorder.begin("answer")
        return super().hidden_states(input_ids, batch, query_indices)

    def logits(self, hidden: Tensor) -> Tensor:
        self._recorder.begin("answer")
        return super().logits(hidden)

    def prepack_frozen(self, prepack: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        self._recorder.begin("prepack")
        self.prepacked = super().prepack_frozen(prepack, memory_bytes=memory_bytes, backward=backward)
        return self.prepacked
