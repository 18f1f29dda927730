"""Helpers of readouts: prompts and completions as token ids, last hidden states, batches of similar length."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from torch import Tensor

from semtune.contracts import NO_MAX_LENGTH, LoadedModel, Prompt, Tokenizer
from semtune.records import Example, TargetKind, label_target


def last_hidden(loaded: LoadedModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """The hidden state of each text's last token, (texts, hidden_size)."""
    input_ids, batch = loaded.pack(texts)
    return loaded.hidden_states(input_ids, batch, last_indices(batch.lengths))


def last_indices(lengths: Sequence[int]) -> list[int]:
    """Index of each text's last token in a packed batch."""
    return [end - 1 for end in itertools.accumulate(lengths)]


def prompt_ids(
    loaded: LoadedModel, prompt: Prompt, examples: Sequence[Example], max_length: int
) -> list[tuple[int, ...]]:
    """Token ids of each example's prompt; targets are removed first, so that no prompt can contain them."""
    unlabelled = [dataclasses.replace(e, target=None) for e in examples]
    return [loaded.tokenizer.encode(e, prompt.encode(e), max_length, completion=False).ids for e in unlabelled]


def label_completions(
    tokenizer: Tokenizer, prompt: Prompt, kind: TargetKind, label_sets: Sequence[tuple[str, ...]]
) -> list[list[int]]:
    """Token ids of the completion for each set of labels, end-of-sequence included."""
    completions = []
    for labels in label_sets:
        example = Example(", ".join(labels), "text", label_target(kind, labels))
        tokenized = tokenizer.encode(example, prompt.encode(example), NO_MAX_LENGTH, completion=True)
        completions.append(list(tokenized.ids[tokenized.prompt_length :]))
    return completions


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, the longest first: a batch too large for the memory fails at once."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
