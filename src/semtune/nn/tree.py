"""Tree attention: many continuations of a shared prefix in one forward (Miao et al. 2023, arXiv:2305.09781).

Continuations that begin with the same tokens share those tokens as nodes of a tree. A text is the prefix, then all
nodes. A node attends to the prefix, its ancestors and itself; its position is the length of the prefix plus its depth.
So its hidden state is the same as with its branch as the only continuation.
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
    """Sequences of tokens as a tree in which common beginnings are shared. Parents come before their children."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    """The parent of each node; -1: the prefix itself."""
    paths: tuple[tuple[int, ...], ...]
    """The nodes of each sequence, in order."""

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> TokenTree:
        """The tree of these sequences."""
        nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node
        paths = []
        for sequence in sequences:
            path: list[int] = []
            for token in sequence:
                path.append(nodes.setdefault((path[-1] if path else -1, token), len(nodes)))
            paths.append(tuple(path))
        return cls(tuple(token for _, token in nodes), tuple(parent for parent, _ in nodes), tuple(paths))

    def depths(self) -> list[int]:
        """The number of ancestors of each node."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        return depths

    def visible(self) -> list[list[int]]:
        """The nodes that each node attends to: its ancestors and itself."""
        visible: list[list[int]] = []
        for node, parent in enumerate(self.parents):
            visible.append([*(visible[parent] if parent >= 0 else []), node])
        return visible


class PackedTree(PackedBatch):
    """The same tree behind each of several prefixes: the row is prefix, nodes, prefix, nodes, …"""

    def __init__(self, prefix_lengths: Sequence[int], tree: TokenTree) -> None:
        """`prefix_lengths`: tokens of each text without the nodes."""
        super().__init__(tuple(n + len(tree.tokens) for n in prefix_lengths))
        self.prefix_lengths, self.tree = tuple(prefix_lengths), tree

    def position_ids(self, device: torch.device) -> Tensor:
        """Position of each token on its branch, (1, tokens + padding)."""
        depths = self.tree.depths()
        flat = [at for n in self.prefix_lengths for at in [*range(n), *(n + depth for depth in depths)]]
        return torch.tensor([flat + [0] * self.padding], device=device)

    def layout(self, device: torch.device, query_indices: tuple[int, ...] | None = None) -> Layout:
        """The index tensors of attention, computed once per forward. `query_indices`: see `Layout`."""
        if query_indices not in self._layouts:
            self._layouts[query_indices] = _TreeLayout(
                self.lengths, self.prefix_lengths, self.tree, query_indices, device
            )
        return self._layouts[query_indices]


class _TreeLayout(Layout):
    causal = False

    def __init__(
        self,
        lengths: Sequence[int],
        prefix_lengths: Sequence[int],
        tree: TokenTree,
        query_indices: tuple[int, ...] | None,
        device: torch.device,
    ) -> None:
        super().__init__(lengths, [0] * len(lengths), query_indices, device)
        self._prefix_lengths, self._tree = prefix_lengths, tree
        self._query_offsets = self._query_positions  # counted from the text's first token; a node's position is smaller
        depths = tree.depths()
        at = [[*range(n), *(n + depth for depth in depths)] for n in prefix_lengths]
        self._query_positions = [[at[i][j] for j in offsets] for i, offsets in enumerate(self._query_offsets)]
        self._key_positions = [row + [0] * (self.max_seqlen - len(row)) for row in at]

    def bias(self, seqlen_k: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a query attends to a key, -inf elsewhere; (texts, 1, max_seqlen_q, seqlen_k)."""
        key = (seqlen_k, window, dtype)
        if key not in self._bias:
            nodes = len(self._tree.tokens)
            below = torch.zeros(nodes, nodes, dtype=torch.bool)
            for node, ancestors in enumerate(self._tree.visible()):
                below[node, ancestors] = True
            visible = torch.zeros(self.texts, self.max_seqlen, seqlen_k, dtype=torch.bool)
            for text, prefix in enumerate(self._prefix_lengths):
                visible[text, :prefix, :prefix] = torch.ones(prefix, prefix, dtype=torch.bool).tril_()
                visible[text, prefix : prefix + nodes, :prefix] = True
                visible[text, prefix : prefix + nodes, prefix : prefix + nodes] = below
            if window is not None:
                at = torch.tensor(self._key_positions)
                visible &= at[:, :, None] - at[:, None, :seqlen_k] < window
            offsets = torch.tensor(self._query_offsets)  # (texts, max_seqlen_q)
            visible = visible[torch.arange(self.texts)[:, None], offsets].unsqueeze(1)
            bias = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, -math.inf)
            self._bias[key] = bias.to(self._device)
        return self._bias[key]
