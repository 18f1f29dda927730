"""What readouts share: texts laid end to end, and predicting in batches of like length."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from semtune.contracts import LoadedModel, Prompt
from semtune.nn.packed_batch import PackedBatch
from semtune.records import Example, TargetKind, label_target

NO_LIMIT = 2**31
"""Tokens that anything may have."""


def pack(texts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, PackedBatch]:
    """Token ids of all texts in one row, (tokens,), and where each begins."""
    ids = torch.tensor([i for text in texts for i in text], dtype=torch.long, device=device)
    return ids, PackedBatch(tuple(len(text) for text in texts))


def last_hidden(loaded: LoadedModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """The hidden state of each text's last token, (texts, hidden_size)."""
    ids, packed_batch = pack(texts, loaded.device)
    return loaded.hidden_states(ids, packed_batch, last_indices(packed_batch.lengths))


def last_indices(lengths: Sequence[int]) -> list[int]:
    """Index of each text's last token in the row."""
    return [end - 1 for end in itertools.accumulate(lengths)]


def prompt_ids(
    loaded: LoadedModel, prompt: Prompt, examples: Sequence[Example], max_length: int
) -> list[tuple[int, ...]]:
    """Token ids of each example's prompt; targets are removed first, so that no prediction depends on them."""
    blind = [dataclasses.replace(e, target=None) for e in examples]
    return [loaded.tokenizer.encode(e, prompt.encode(e), max_length, completion=False).ids for e in blind]


def label_completions(
    loaded: LoadedModel, prompt: Prompt, kind: TargetKind, answers: Sequence[tuple[str, ...]]
) -> list[list[int]]:
    """Token ids of each answer (the labels it consists of), end-of-sequence included."""
    completions = []
    for labels in answers:
        example = Example(", ".join(labels), "text", label_target(kind, labels))
        tokenized = loaded.tokenizer.encode(example, prompt.encode(example), NO_LIMIT, completion=True)
        completions.append(list(tokenized.ids[tokenized.prompt_length :]))
    return completions


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of like length, the longest first (what will not fit fails at once)."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
