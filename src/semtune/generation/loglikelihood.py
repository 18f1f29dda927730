"""Log-likelihoods of given completions: one forward for a text and all its completions.

log p(completion | prompt) = sum over its tokens of log softmax(logits)[token], over the whole vocabulary. The
completions hang behind the prompt as a tree (`nn.tree`), so the prompt and whatever completions begin alike with are
worked out once, and the vocabulary product runs only where a completion's next token is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from semtune.contracts import LoadedModel
from semtune.nn.tree import PackedTree, TokenTree

FORWARD_TOKENS = 1024
"""Tokens of one forward, about: wider matrix products are hardly faster, and memory stays bounded."""
TREE_NODES = 512
"""Nodes of one tree, about: a text with more completions is worked out several times."""
LOGIT_ROWS = 128
"""Rows of logits that exist at once."""


@torch.no_grad()
def completion_log_likelihoods(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    most_texts: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """log p(completion | prompt) of every completion behind every prompt.

    Args:
        prompts: token ids of each text, none empty.
        completions: token ids of each completion (end-of-sequence is a token like any other), none empty.
        most_texts: in one forward, at most; None: as `FORWARD_TOKENS` says alone.
        progress: receives how many more texts are done.

    Returns:
        (texts, completions), in nats; fp32, or fp64 of an fp64 model.
    """
    dtype = torch.float64 if loaded.compute_dtype == torch.float64 else torch.float32
    out = torch.empty(len(prompts), len(completions), dtype=dtype)
    # The last token of a completion is asked for and asks nothing.
    trees = [(columns, TokenTree.of([completions[c][:-1] for c in columns])) for columns in _small_trees(completions)]
    nodes = max((len(tree.tokens) for _, tree in trees), default=0)
    for rows in _batches([len(p) + nodes for p in prompts], most_texts or len(prompts)):
        for columns, tree in trees:
            values = _one_forward(loaded, [prompts[r] for r in rows], [completions[c] for c in columns], tree, dtype)
            out[torch.tensor(rows)[:, None], torch.tensor(columns)] = values.cpu()
        if progress is not None:
            progress(len(rows))
    return out


def _one_forward(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    tree: TokenTree,
    dtype: torch.dtype,
) -> Tensor:
    """(texts, completions)."""
    nodes = len(tree.tokens)
    ids = torch.tensor([token for prompt in prompts for token in (*prompt, *tree.tokens)], device=loaded.device)
    packed_batch = PackedTree([len(prompt) for prompt in prompts], tree)
    places: list[int] = []  # the prompt's last token and all nodes, of each text
    end = 0
    for n in packed_batch.lengths:
        end += n
        places += range(end - nodes - 1, end)
    hidden = loaded.hidden_states(ids, packed_batch, places)  # (texts · (nodes + 1), hidden_size)
    # What is asked for, (place within the text, token); place 0 is the prompt's end, 1 + node a node.
    asked = [
        (0 if i == 0 else 1 + path[i - 1], token)
        for path, tokens in zip(tree.paths, completions, strict=True)
        for i, token in enumerate(tokens)
    ]
    chances = _log_chances(loaded, hidden, nodes + 1, asked, dtype)  # (texts, asked)
    column = torch.tensor([c for c, tokens in enumerate(completions) for _ in tokens], device=chances.device)
    sums = torch.zeros(len(prompts), len(completions), dtype=dtype, device=chances.device)
    return sums.index_add_(1, column, chances)


def _log_chances(
    loaded: LoadedModel, hidden: Tensor, per_text: int, asked: Sequence[tuple[int, int]], dtype: torch.dtype
) -> Tensor:
    """log p of each (place, token) asked for; hidden (texts · per_text, hidden_size) -> (texts, asked)."""
    texts = len(hidden) // per_text
    place = torch.tensor([p for p, _ in asked], device=hidden.device)
    token = torch.tensor([t for _, t in asked], device=hidden.device)
    rows = (torch.arange(texts, device=hidden.device)[:, None] * per_text + place).reshape(-1)  # (texts · asked,)
    tokens = token.repeat(texts)
    order = rows.argsort(stable=True)
    ends = torch.searchsorted(rows[order], torch.arange(0, len(hidden) + LOGIT_ROWS, LOGIT_ROWS, device=rows.device))
    out = torch.empty(len(rows), dtype=dtype, device=hidden.device)
    for chunk, (first, last) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        start = chunk * LOGIT_ROWS
        logits = loaded.logits(hidden[start : start + LOGIT_ROWS])  # (LOGIT_ROWS, vocab)
        normal = torch.log_softmax(logits, dim=-1, dtype=dtype)
        entries = order[first:last]
        out[entries] = normal[rows[entries] - start, tokens[entries]]
    return out.view(texts, -1)


def _small_trees(completions: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indices of completions in groups of `TREE_NODES` tokens or one completion; neighbours begin alike."""
    group: list[int] = []
    total = 0
    for i in sorted(range(len(completions)), key=lambda i: tuple(completions[i])):
        if group and total + len(completions[i]) > TREE_NODES:
            yield group
            group, total = [], 0
        group.append(i)
        total += len(completions[i])
    if group:
        yield group


def _batches(lengths: Sequence[int], most_texts: int) -> Iterator[list[int]]:
    """Indices of texts in groups of `FORWARD_TOKENS` padded tokens or one text, the longest first."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if group and (len(group) == most_texts or lengths[group[0]] * (len(group) + 1) > FORWARD_TOKENS):
            yield group
            group = []
        group.append(i)
    if group:
        yield group
