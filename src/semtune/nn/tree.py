"""Many continuations of one text in one forward: what they begin alike with is laid down once, as a tree of tokens.

Each text is its own tokens (the trunk), then the nodes of the tree. A node sees the trunk, the nodes it hangs from and
itself, and stands where it would stand if its branch were the only continuation (tree attention, as in Miao et al.
2023, arXiv:2305.09781). So each node's hidden state is the one that its branch alone would give it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semtune.nn.packed_batch import Layout, PackedBatch


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Sequences of tokens with their common beginnings joined; a node stands behind the one it hangs from."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    """The node that each node hangs from; -1: from the trunk."""
    paths: tuple[tuple[int, ...], ...]
    """The nodes of each sequence, in order."""

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> TokenTree:
        nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node
        paths = []
        for sequence in sequences:
            path: list[int] = []
            for token in sequence:
                path.append(nodes.setdefault((path[-1] if path else -1, token), len(nodes)))
            paths.append(tuple(path))
        return cls(tuple(token for _, token in nodes), tuple(parent for parent, _ in nodes), tuple(paths))

    def depths(self) -> list[int]:
        """Of each node, how many it hangs from."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        return depths

    def seen(self) -> list[list[int]]:
        """Of each node, the nodes it sees: those it hangs from, and itself."""
        seen: list[list[int]] = []
        for node, parent in enumerate(self.parents):
            seen.append([*(seen[parent] if parent >= 0 else []), node])
        return seen


class PackedTree(PackedBatch):
    """The same tree behind each of several texts: a row holds trunk, nodes, trunk, nodes, …"""

    def __init__(self, trunks: Sequence[int], tree: TokenTree) -> None:
        """`trunks`: tokens of each text without the nodes."""
        super().__init__(tuple(n + len(tree.tokens) for n in trunks))
        self.trunks, self.tree = tuple(trunks), tree

    def position_ids(self, device: torch.device) -> Tensor:
        """Position of each token on its branch, (1, tokens + padding)."""
        depths = self.tree.depths()
        flat = [place for n in self.trunks for place in [*range(n), *(n + depth for depth in depths)]]
        return torch.tensor([flat + [0] * self.padding], device=device)

    def layout(self, device: torch.device, queries: tuple[int, ...] | None = None) -> Layout:
        """As that of `PackedBatch`, for a tree."""
        if queries not in self._layouts:
            self._layouts[queries] = _TreeLayout(self.lengths, self.trunks, self.tree, queries, device)
        return self._layouts[queries]


class _TreeLayout(Layout):
    causal = False

    def __init__(
        self,
        lengths: Sequence[int],
        trunks: Sequence[int],
        tree: TokenTree,
        queries: tuple[int, ...] | None,
        device: torch.device,
    ) -> None:
        super().__init__(lengths, [0] * len(lengths), queries, device)
        self._trunks, self._tree = trunks, tree
        self._query_places = self._query_positions  # in the text's own part of the row; positions are not these
        depths = tree.depths()
        at = [[*range(n), *(n + depth for depth in depths)] for n in trunks]
        self._query_positions = [[at[i][p] for p in places] for i, places in enumerate(self._query_places)]
        self._key_positions = [row + [0] * (self.max_seqlen - len(row)) for row in at]

    def bias(self, seqlen_k: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a query sees a key, -inf elsewhere; (texts, 1, max_seqlen_q, seqlen_k)."""
        key = (seqlen_k, window, dtype)
        if key not in self._bias:
            nodes = len(self._tree.tokens)
            below = torch.zeros(nodes, nodes, dtype=torch.bool)
            for node, seen in enumerate(self._tree.seen()):
                below[node, seen] = True
            visible = torch.zeros(self.texts, self.max_seqlen, seqlen_k, dtype=torch.bool)
            for text, trunk in enumerate(self._trunks):
                visible[text, :trunk, :trunk] = torch.ones(trunk, trunk, dtype=torch.bool).tril_()
                visible[text, trunk : trunk + nodes, :trunk] = True
                visible[text, trunk : trunk + nodes, trunk : trunk + nodes] = below
            if window is not None:
                at = torch.tensor(self._key_positions)
                visible &= at[:, :, None] - at[:, None, :seqlen_k] < window
            places = torch.tensor(self._query_places)  # (texts, max_seqlen_q)
            visible = visible[torch.arange(self.texts)[:, None], places].unsqueeze(1)
            bias = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, -math.inf)
            self._bias[key] = bias.to(self._device)
        return self._bias[key]
