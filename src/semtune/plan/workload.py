"""The batches and texts that a plan traces: the largest step, a typical one, the longest texts to predict.

With a task they come from its data. Without one every text has `max_length` tokens, an upper bound of any run's.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from semtune.contracts import Readout
from semtune.nn.packed_batch import padding_to_multiple
from semtune.plan.phases import Workload
from semtune.records import Example, LabelSet, RunSpec, TargetSpace
from semtune.training.sampler import epoch_batches, optimizer_steps

LABELS = tuple(f"label {i:02d}" for i in range(1, 21))
SPACE = TargetSpace("label_set", LABELS)
"""Labels of a plan without a task: 20, as many as in SemEval-2021 Task 6."""


def filled_examples(count: int, max_length: int) -> list[Example]:
    """Texts of more than `max_length` tokens, which encoding truncates to `max_length`."""
    return [Example(str(i), "word " * (2 * max_length), LabelSet(LABELS[:1])) for i in range(count)]


def filled_workload(readout: Readout, spec: RunSpec) -> Workload:
    """A workload whose texts all have `max_length` tokens."""
    size, steps = spec.batch_size, spec.accumulation_steps
    examples = filled_examples(max(size * steps, spec.predict_batch_size), spec.max_length)
    step = [[readout.encode(e) for e in examples[i * size : (i + 1) * size]] for i in range(steps)]
    return Workload(step, step, examples[: spec.predict_batch_size], readout.max_new_tokens)


def task_workload(readout: Readout, spec: RunSpec, train: Sequence[Example], predicted: Sequence[Example]) -> Workload:
    """The workload of a task's examples.

    Args:
        predicted: all examples that the run predicts.
    """
    texts = [readout.encode(e) for e in train]
    steps = optimizer_steps(
        epoch_batches([len(t) for t in texts], spec.batch_size, spec.seed, 0), spec.accumulation_steps
    )
    tokens = [sum(len(texts[i]) for batch in step for i in batch) for step in steps]
    largest = steps[max(range(len(steps)), key=lambda i: tokens[i])]
    middle = statistics.median_low(tokens)
    typical = steps[tokens.index(middle)]
    as_texts = [[[texts[i] for i in batch] for batch in step] for step in (largest, typical)]
    longest_texts = sorted(predicted, key=lambda e: -len(e.text))[: spec.predict_batch_size]
    lengths = tuple(len(t) for t in texts)
    rows = {n + padding_to_multiple(n) for step in steps for n in (sum(lengths[i] for i in batch) for batch in step)}
    return Workload(
        as_texts[0], as_texts[1], longest_texts, readout.max_new_tokens, len(steps), lengths, len(rows),
        examples=len(train) + len(predicted),
    )  # fmt: skip
