"""Makes train, dev and test splits: stratified, seeded, independent of the order of the rows, and without leaks.

Texts are sorted so that those with the same labels are neighbours (rarest labels first, then in an order drawn from
the seed), and each next text goes to the split that is furthest behind its share. Every stretch of that order is thus
divided in the requested proportions, which stratifies single-label and multi-label data alike; compare Sechidis et al.
2011, "On the Stratification of Multi-label Data", whose rarest-label-first idea this keeps. Two rules are our own:

- Rows with the same text (case and spacing aside) always go to the same split, since testing on a text that was
  trained on measures nothing.
- The first text with a label goes to train, so a label that occurs once is never only tested.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from semtune.errors import DataError
from semtune.records import Example


def make_splits(examples: Sequence[Example], fractions: Mapping[str, float], seed: int) -> dict[str, list[Example]]:
    """Divide labelled `examples` into the splits "train" and those named in `fractions` (shares of the whole, 0 to 1).

    Within a split the examples keep their order in `examples`.

    Raises DataError when there are too few different texts for each split to get one.
    """
    groups = by_text(examples)
    shares = {"train": 1.0 - sum(fractions.values()), **fractions}
    chosen = _assign({text: _labels_of(group) for text, group in groups.items()}, groups, shares, seed)
    splits: dict[str, list[Example]] = {name: [] for name in shares}
    for example in examples:
        splits[chosen[_same_text_key(example.text)]].append(example)
    empty = [name for name in shares if not splits[name]]
    if empty:
        raise DataError(
            f"{len(groups)} different texts are too few to split into {', '.join(shares)} ({' and '.join(empty)} would "
            f"be empty); {_repeated(examples, groups)}add rows, ask for larger fractions, or give the splits as files "
            "of their own."
        )
    return splits


def make_folds(examples: Sequence[Example], count: int, seed: int) -> list[list[Example]]:
    """Divide labelled `examples` into `count` parts of about equal size for cross-validation.

    Stratified like `make_splits`: each next text of the same order goes to the smallest part. Rows with the same text
    go to the same part. Within a part the examples keep their order in `examples`.

    Raises DataError when there are fewer different texts than parts.
    """
    groups = by_text(examples)
    if len(groups) < count:
        raise DataError(
            f"{len(groups)} different texts are too few for {count} folds; add rows, or ask for at most {len(groups)}."
        )
    sizes, part_of = [0] * count, {}
    for text in _stratified_order({text: _labels_of(group) for text, group in groups.items()}, seed):
        part = part_of[text] = sizes.index(min(sizes))
        sizes[part] += len(groups[text])
    parts: list[list[Example]] = [[] for _ in range(count)]
    for example in examples:
        parts[part_of[_same_text_key(example.text)]].append(example)
    return parts


_FEW = 3
"""Texts up to which labels of their own are no surprise."""


def by_text(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """The examples of each text, in the order of their first; case and spacing make no difference."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[_same_text_key(example.text)].append(example)
    return dict(groups)


def contradictions(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples of each text that occurs with different labels; unlabelled ones contradict nothing."""
    groups = by_text([e for e in examples if e.target is not None])
    return [group for group in groups.values() if len({frozenset(e.labels or ()) for e in group}) > 1]


def _same_text_key(text: str) -> str:
    return " ".join(text.casefold().split())


def _repeated(examples: Sequence[Example], groups: Mapping[str, Sequence[Example]]) -> str:
    """Why few texts can be split: rows repeat them, or each label needs one in train; "" where nothing is odd."""
    labels = {label for e in examples for label in e.labels or ()}
    if len(groups) == len(examples):
        if 2 * len(labels) <= len(groups):
            return ""
        if len(labels) == len(groups) > _FEW:
            return "every text has a label of its own, so check --label-column; otherwise "
        return f"there are {len(labels)} labels, of each of which the first text stays in train; "
    contradicting = sum(len(group) for group in contradictions(examples))
    same = f"the {len(examples)} rows repeat them, and rows with the same text stay in one split"
    other = f", of which {contradicting} contradict each other (same text, different labels)" if contradicting else ""
    return f"{same}{other}; "


def _assign(
    labels_of: Mapping[str, frozenset[str]],
    groups: Mapping[str, Sequence[Example]],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """The split of each text, by the algorithm of the module's docstring."""
    taken = dict.fromkeys(shares, 0)
    trained: set[str] = set()
    chosen: dict[str, str] = {}
    so_far = 0
    for text in _stratified_order(labels_of, seed):
        so_far += len(groups[text])
        if labels_of[text] - trained:
            split = "train"
        else:
            # max keeps the first of equals, and "train" comes first.
            split = max(shares, key=lambda name: shares[name] * so_far - taken[name])
        if split == "train":
            trained |= labels_of[text]
        taken[split] += len(groups[text])
        chosen[text] = split
    return chosen


def _stratified_order(labels_of: Mapping[str, frozenset[str]], seed: int) -> list[str]:
    """The texts, those with the same labels as neighbours, rarest labels first, then as drawn from `seed`."""
    counts = Counter(label for labels in labels_of.values() for label in labels)
    rank = {label: i for i, label in enumerate(sorted(counts, key=lambda name: (counts[name], name)))}

    def sort_key(text: str) -> tuple[list[int], bytes]:
        draw = hashlib.sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest()
        return sorted(rank[label] for label in labels_of[text]), draw

    return sorted(labels_of, key=sort_key)


def _labels_of(group: Sequence[Example]) -> frozenset[str]:
    return frozenset(label for example in group for label in example.labels or ())
