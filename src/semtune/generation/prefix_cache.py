"""Keys and values of prompts' beginnings, kept for later prompts that begin alike (prefix cache).

A radix tree over token ids: each node holds the segment of the tokens between its parent and itself, so that a path
from the root is a beginning of a prompt. What is found is exact: a token's keys and values depend on the tokens up to
it alone. (RadixAttention, Zheng et al. 2024, arXiv:2312.07104.)
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from semtune.contracts import CacheSegment

MIN_TOKENS = 16
"""A segment has at least so many tokens: each costs products of its own in every layer of a forward."""

Ids = Sequence[int]
_Key = tuple[int, ...]


@dataclass(eq=False)
class Node:
    """Consecutive tokens behind those of the parent, and their keys and values."""

    ids: tuple[int, ...]
    segment: CacheSegment | None
    """None: the root, which has no tokens."""
    parent: Node | None
    children: dict[_Key, Node] = field(default_factory=dict)
    """By their first `MIN_TOKENS` tokens."""
    pins: int = 0
    """Number of groups of requests that decode behind this node; it is not evicted while there is one."""
    used_at: int = 0

    def path(self) -> list[Node]:
        """The nodes from the first one below the root to this one."""
        above = self.parent.path() if self.parent is not None else []
        return [*above, self] if self.segment is not None else []

    def segments(self) -> list[CacheSegment]:
        """The segments of `path`."""
        return [node.segment for node in self.path() if node.segment is not None]

    @property
    def tokens(self) -> int:
        """Number of tokens from the root to the end of this node."""
        return sum(len(node.ids) for node in self.path())


class PrefixCache:
    """Finds the longest kept beginning of a prompt; evicts what was used longest ago.

    Args:
        max_bytes: of all segments together. While a group of requests uses a node it stays, and a segment that is
            evicted or split while requests still read it is freed when they finish.
    """

    def __init__(self, max_bytes: int) -> None:
        self.root = Node((), None, None)
        self.max_bytes = max_bytes
        self.nbytes = 0
        """Bytes of the segments in the tree."""
        self._clock = itertools.count(1)

    def match(self, ids: Ids) -> Node:
        """The deepest node whose tokens are a beginning of `ids`; the root where none is.

        At least one token of `ids` is left over, as a prompt's last token must be run. A node whose tokens agree only
        in part is split there.
        """
        node, at = self.root, 0
        while True:
            child = node.children.get(tuple(ids[at : at + MIN_TOKENS]))
            if child is None:
                break
            common = _common(child.ids, ids[at : len(ids) - 1])
            if common < len(child.ids):
                upper = self._split(child, common)
                node = node if upper is None else upper
                break
            node, at = child, at + common
        now = next(self._clock)
        for used in node.path():
            used.used_at = now
        return node

    def insert(self, ids: Ids, segment: Callable[[int, int], CacheSegment]) -> Node | None:
        """Keep the beginning `ids`.

        Args:
            segment: makes the segment of the tokens `first` to `last` (exclusive), those that are not kept yet.

        Returns:
            The new node; None where all is kept already, too few tokens are left, or no bytes are free.
        """
        node = self.match([*ids, -1])
        first, key = node.tokens, tuple(ids[node.tokens : node.tokens + MIN_TOKENS])
        if len(key) < MIN_TOKENS or key in node.children:
            return None
        added = segment(first, len(ids))
        with self.pinned([node]):
            if not self._evict(self.max_bytes - added.nbytes):
                return None
        node.children[key] = Node(tuple(ids[first:]), added, node, used_at=next(self._clock))
        self.nbytes += added.nbytes
        return node.children[key]

    @contextlib.contextmanager
    def pinned(self, nodes: Sequence[Node]) -> Iterator[None]:
        """Nothing of the paths to these nodes is evicted within this context."""
        for node in nodes:
            node.pins += 1
        try:
            yield
        finally:
            for node in nodes:
                node.pins -= 1

    def evictable_bytes(self) -> int:
        """Bytes that a new segment may take, after everything has been evicted that is not pinned."""
        needed = {above for node in [self.root, *_below(self.root)] if node.pins for above in node.path()}
        return self.max_bytes - sum(node.segment.nbytes for node in needed if node.segment is not None)

    def remove(self, node: Node) -> None:
        """Forget a node, unless others continue it, it is pinned, or it was evicted already."""
        key = node.ids[:MIN_TOKENS]
        kept = node.parent is not None and node.parent.children.get(key) is node
        if kept and not node.children and not node.pins and node.parent is not None and node.segment is not None:
            del node.parent.children[key]
            self.nbytes -= node.segment.nbytes

    def _split(self, node: Node, at: int) -> Node | None:
        """Divide `node` after `at` tokens, or before where its end would be too short; the upper part.

        `node` stays the lower part, so that what refers to it still means the same tokens. None: it is too short.
        """
        at = min(at, len(node.ids) - MIN_TOKENS)
        if at < MIN_TOKENS or node.segment is None or node.parent is None:
            return None
        first, last = node.segment.split(at)
        upper = Node(node.ids[:at], first, node.parent, used_at=node.used_at)
        node.parent.children[node.ids[:MIN_TOKENS]] = upper
        node.ids, node.segment, node.parent = node.ids[at:], last, upper
        upper.children[node.ids[:MIN_TOKENS]] = node
        return upper

    def _evict(self, max_bytes: int) -> bool:
        """Remove leaves, the one used longest ago first, until `max_bytes` are left; whether that was possible."""
        while self.nbytes > max_bytes:
            leaves = [node for node in _below(self.root) if not node.children and not node.pins]
            if not leaves:
                break
            self.remove(min(leaves, key=lambda node: node.used_at))
        return self.nbytes <= max_bytes


def shared_beginnings(prompts: Sequence[Ids], known: Sequence[Node]) -> list[tuple[int, int]]:
    """Beginnings that at least two prompts share and that are not kept.

    Args:
        known: for each prompt, the node that `PrefixCache.match` found.

    Returns:
        (index of one of the prompts, number of tokens) for each, and of those that contain each other the shortest: the
        others are found when that one is kept.
    """
    by_node: dict[int, list[int]] = {}
    for index, node in enumerate(known):
        by_node.setdefault(id(node), []).append(index)
    found: list[tuple[int, int]] = []
    for group in by_node.values():
        found += _shared(prompts, sorted(group, key=lambda i: tuple(prompts[i])), *(2 * [known[group[0]].tokens]))
    return found


def _shared(prompts: Sequence[Ids], group: Sequence[int], known: int, agreed: int) -> list[tuple[int, int]]:
    """As `shared_beginnings`, for sorted prompts that agree in `agreed` tokens, of which `known` are kept."""
    found: list[tuple[int, int]] = []
    longer = [i for i in group if len(prompts[i]) > agreed + 1]
    for _, same in itertools.groupby(longer, key=lambda i: prompts[i][agreed]):
        members = list(same)
        if len(members) < 2:
            continue
        first, last = prompts[members[0]], prompts[members[-1]]
        common = agreed + _common(first[agreed:], last[agreed:])
        common = min(common, min(len(prompts[i]) for i in members) - 1)
        if common - known >= MIN_TOKENS:
            found.append((members[0], common))
        else:
            found += _shared(prompts, members, known, common)
    return found


def _common(a: Ids, b: Ids) -> int:
    """Length of the longest common beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tuple(a[low:middle]) == tuple(b[low:middle]) else (low, middle - 1)
    return low


def _below(node: Node) -> list[Node]:
    """All nodes below `node`."""
    found: list[Node] = []
    todo = list(node.children.values())
    while todo:
        found.append(todo.pop())
        todo += found[-1].children.values()
    return found
