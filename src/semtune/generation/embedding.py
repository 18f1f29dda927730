"""Embeddings of texts out of a causal language model: the mean of the last hidden states over a text's tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semtune.contracts import LoadedModel
from semtune.generation.grouping import consecutive_groups

MAX_TOKENS = 512
"""Tokens of a text that count, from its beginning."""
FORWARD_TOKENS = 2048
"""Tokens of the texts in one forward."""


@torch.no_grad()
def mean_hidden_states(loaded: LoadedModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """Token ids of texts -> (texts, hidden_size), fp32 on the CPU; zeros for a text without tokens."""
    cut = [list(ids)[:MAX_TOKENS] for ids in texts]
    means = torch.zeros(len(cut), loaded.hidden_size)
    filled = [i for i, ids in enumerate(cut) if ids]
    for group in consecutive_groups([len(cut[i]) for i in filled], FORWARD_TOKENS):
        rows = [filled[i] for i in group]
        ids, batch = loaded.pack([cut[i] for i in rows])
        hidden = loaded.hidden_states(ids, batch)  # (tokens, hidden_size)
        lengths = [len(cut[i]) for i in rows]
        for row, states in zip(rows, torch.split(hidden[: sum(lengths)], lengths), strict=True):
            means[row] = states.float().mean(dim=0).cpu()
    return means
