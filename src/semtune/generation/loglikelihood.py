"""Log-likelihoods of given completions, of all completions behind one prompt together.

log p(completion | prompt) = sum over its tokens of log softmax(logits)[token], over the whole vocabulary. Where the
model supports tree attention, the completions follow the prompt as a tree of tokens in one forward: the shared
prefix, and what completions begin alike with, are computed once. Other models compute the prompt once and continue
copies of its cache. The LM head runs only at positions whose next token is scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from semtune.contracts import LoadedModel
from semtune.generation.finite import check_numbers

FORWARD_TOKENS = 1024
"""About as many tokens run in one forward: more are hardly faster, and memory stays bounded."""
TREE_NODES = 512
"""About as many completion tokens follow a prompt in one forward; for more completions the prompt is run again."""
LOGIT_ROWS = 128
"""Rows of logits, (rows, vocab_size), that exist at once."""

Ids = Sequence[int]
States = Callable[[LoadedModel, Sequence[Ids], Sequence[Ids]], tuple[Tensor, list[tuple[int, ...]]]]
"""Runs a model over prompts and continuations; what it receives and returns: `_tree_states`."""


@torch.no_grad()
def loglikelihood(
    loaded: LoadedModel,
    prompts: Sequence[Ids],
    completions: Sequence[Ids],
    *,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
    states: States | None = None,
    known_tokens: Sequence[int] | None = None,
) -> Tensor:
    """log p(completion | prompt) of every completion behind every prompt.

    Args:
        prompts: token ids of each text, none empty.
        completions: token ids of each completion (end-of-sequence is a token like any other), none empty.
        batch_size: most texts of one forward; None: as many as `FORWARD_TOKENS` allows.
        progress: receives how many texts were done since its last call.
        states: how the model is run over some prompts and completions; None: whole prompts.
        known_tokens: for each prompt, how many of its tokens `states` need not run; None: all are run.

    Returns:
        (texts, completions), in nats; fp32, or fp64 for an fp64 model.

    Raises:
        DivergedError: a log-likelihood is NaN.
    """
    dtype = torch.float64 if loaded.compute_dtype == torch.float64 else torch.float32
    out = torch.empty(len(prompts), len(completions), dtype=dtype)
    as_tree = states is None and loaded.tree_attention
    groups = list(_groups(completions, as_tree=as_tree))
    nodes = max((count_nodes([completions[c] for c in columns]) for columns in groups), default=0)
    states = states or (_tree_states if loaded.tree_attention else _cached_states)
    known = known_tokens or [0] * len(prompts)
    lengths = [len(prompt) - n + nodes for prompt, n in zip(prompts, known, strict=True)]
    for rows in _batches(lengths, batch_size or len(prompts)):
        for columns in groups:
            texts, continued = [prompts[r] for r in rows], [completions[c] for c in columns]
            values = _one_batch(loaded, texts, continued, states, dtype)
            check_numbers(values, "log-likelihoods")
            out[torch.tensor(rows)[:, None], torch.tensor(columns)] = values.cpu()
        if progress is not None:
            progress(len(rows))
    return out


def _one_batch(
    loaded: LoadedModel, prompts: Sequence[Ids], completions: Sequence[Ids], states: States, dtype: torch.dtype
) -> Tensor:
    """As `loglikelihood`, for texts and completions of one forward: (texts, completions)."""
    # The last token of a completion is scored and predicts nothing.
    inputs = [tokens[:-1] for tokens in completions]
    hidden, paths = states(loaded, prompts, inputs)  # (texts · (nodes + 1), hidden_size)
    # Each scored token as (row within the text, token); row 0 is the prompt's last token, row 1 + n is node n.
    scored = [
        (0 if i == 0 else 1 + path[i - 1], token)
        for path, tokens in zip(paths, completions, strict=True)
        for i, token in enumerate(tokens)
    ]
    values = _log_probabilities(loaded, hidden, len(hidden) // len(prompts), scored, dtype)  # (texts, scored)
    column = torch.tensor([c for c, tokens in enumerate(completions) for _ in tokens], device=values.device)
    sums = torch.zeros(len(prompts), len(completions), dtype=dtype, device=values.device)
    return sums.index_add_(1, column, values)


def _tree_states(
    loaded: LoadedModel, prompts: Sequence[Ids], inputs: Sequence[Ids]
) -> tuple[Tensor, list[tuple[int, ...]]]:
    """Hidden states behind every prompt, with completions that begin alike as one tree of tokens (nodes).

    Args:
        inputs: the completions without their last tokens; one may be empty.

    Returns:
        Hidden states (texts · (1 + nodes), hidden_size): of each text the prompt's last token, then all nodes; and for
        each input, the node of each of its tokens.
    """
    input_ids, batch, paths = loaded.pack_tree(prompts, inputs)
    query_indices: list[int] = []
    end = 0
    for n, prompt in zip(batch.lengths, prompts, strict=True):
        end += n
        query_indices += range(end - (n - len(prompt)) - 1, end)
    return loaded.hidden_states(input_ids, batch, query_indices), paths


def _cached_states(
    loaded: LoadedModel, prompts: Sequence[Ids], inputs: Sequence[Ids]
) -> tuple[Tensor, list[tuple[int, ...]]]:
    """As `_tree_states`, without tree attention, in two forwards: every token of every input is a node of its own."""
    paths = separate_paths(inputs)
    cache = loaded.new_cache(len(prompts))
    input_ids, batch = loaded.pack(prompts, cache)
    last_indices = [end - 1 for end in itertools.accumulate(len(prompt) for prompt in prompts)]
    ends = loaded.hidden_states(input_ids, batch, last_indices)  # (texts, hidden_size)
    continued = [tokens for tokens in inputs if tokens]
    if not continued:
        return ends, paths
    cache.keep([row for row in range(len(prompts)) for _ in continued])
    input_ids, batch = loaded.pack(continued * len(prompts), cache)
    return behind_ends(ends, loaded.hidden_states(input_ids, batch)), paths


def separate_paths(inputs: Sequence[Ids]) -> list[tuple[int, ...]]:
    """The nodes of each input where every token is a node of its own."""
    first_nodes = itertools.accumulate([0, *(len(tokens) for tokens in inputs)])
    return [tuple(range(first, first + len(tokens))) for first, tokens in zip(first_nodes, inputs, strict=False)]


def behind_ends(ends: Tensor, nodes: Tensor) -> Tensor:
    """(texts, hidden_size) and (texts · nodes, hidden_size) -> (texts · (1 + nodes), hidden_size), text by text."""
    return torch.cat([ends.unsqueeze(1), nodes.view(len(ends), -1, nodes.shape[1])], dim=1).flatten(0, 1)


def _log_probabilities(
    loaded: LoadedModel, hidden: Tensor, rows_per_text: int, scored: Sequence[tuple[int, int]], dtype: torch.dtype
) -> Tensor:
    """log p of each (row within the text, token); hidden (texts · rows_per_text, hidden_size) -> (texts, scored)."""
    texts = len(hidden) // rows_per_text
    row = torch.tensor([r for r, _ in scored], device=hidden.device)
    token = torch.tensor([t for _, t in scored], device=hidden.device)
    rows = (torch.arange(texts, device=hidden.device)[:, None] * rows_per_text + row).reshape(-1)  # (texts · scored,)
    tokens = token.repeat(texts)
    order = rows.argsort(stable=True)
    ends = torch.searchsorted(rows[order], torch.arange(0, len(hidden) + LOGIT_ROWS, LOGIT_ROWS, device=rows.device))
    out = torch.empty(len(rows), dtype=dtype, device=hidden.device)
    for chunk, (first, last) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        start = chunk * LOGIT_ROWS
        logits = loaded.logits(hidden[start : start + LOGIT_ROWS])  # (LOGIT_ROWS, vocab_size)
        log_probs = torch.log_softmax(logits, dim=-1, dtype=dtype)
        entries = order[first:last]
        out[entries] = log_probs[rows[entries] - start, tokens[entries]]
    return out.view(texts, -1)


def count_nodes(completions: Sequence[Ids]) -> int:
    """Number of distinct non-empty beginnings of the completions without their last tokens: the nodes of their tree."""
    return len({tuple(tokens[:n]) for tokens in completions for n in range(1, len(tokens))})


def _groups(completions: Sequence[Ids], *, as_tree: bool) -> Iterator[list[int]]:
    """Indices of completions in groups that add at most `TREE_NODES` tokens to a forward, or of one longer completion.

    Sorted by token ids, so that completions that begin alike share a group and its tree.

    Args:
        as_tree: whether what completions begin alike with is run once, so that it counts once.
    """
    group: list[int] = []
    nodes: set[tuple[int, ...]] = set()
    tokens = 0
    for i in sorted(range(len(completions)), key=lambda i: tuple(completions[i])):
        ids = completions[i]
        path = {tuple(ids[:n]) for n in range(1, len(ids))} if as_tree else set()
        own = len(path - nodes) if as_tree else len(ids)
        if group and tokens + own > TREE_NODES:
            yield group
            group, nodes, tokens = [], set(), 0
            own = len(path) if as_tree else len(ids)
        group.append(i)
        nodes |= path
        tokens += own
    if group:
        yield group


def _batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices of texts, longest first, in groups of at most `FORWARD_TOKENS` padded tokens, or of one longer text."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if group and (len(group) == batch_size or lengths[group[0]] * (len(group) + 1) > FORWARD_TOKENS):
            yield group
            group = []
        group.append(i)
    if group:
        yield group
