"""The tree of kept beginnings, against a plain list of all token sequences that were kept."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from semtune.generation import prefix_cache as module
from semtune.generation.prefix_cache import MIN_TOKENS, Node, PrefixCache, shared_beginnings


@dataclass(frozen=True)
class Text:
    """A segment whose "keys and values" are its tokens, one byte each."""

    ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        return len(self.ids)

    def split(self, at: int) -> tuple[Text, Text]:
        return Text(self.ids[:at]), Text(self.ids[at:])


def insert(cache: PrefixCache, ids: list[int]) -> Node | None:
    return cache.insert(ids, lambda first, last: Text(tuple(ids[first:last])))


def held(node: Node) -> list[int]:
    return [token for segment in node.segments() for token in segment.ids]


def bytes_of(cache: PrefixCache) -> int:
    return sum(node.segment.nbytes for node in module._below(cache.root))


texts = st.lists(st.sampled_from([0, 0, 0, 0, 1]), min_size=1, max_size=70)
"""Mostly alike for a while."""


@settings(deadline=None, max_examples=150)
@given(st.lists(texts, min_size=1, max_size=12), st.integers(0, 300))
def test_what_is_found_is_a_beginning_and_bytes_stay_bounded(sequences: list[list[int]], max_bytes: int) -> None:
    cache = PrefixCache(max_bytes)
    for ids in sequences:
        node = cache.match(ids)
        assert held(node) == ids[: node.tokens] and node.tokens < len(ids)
        added = insert(cache, ids)
        assert added is None or held(added) == ids
        assert bytes_of(cache) == cache.nbytes <= max_bytes
        assert all(
            len(n.ids) >= MIN_TOKENS and held(n)[-len(n.ids) :] == list(n.ids) for n in module._below(cache.root)
        )


def test_the_longest_beginning_is_found_also_within_a_segment() -> None:
    cache = PrefixCache(1000)
    first = list(range(100))
    whole = insert(cache, first)
    assert cache.match([*first, 7]) is whole
    assert cache.match(first).tokens == 100 - MIN_TOKENS, "the last token is left over, a segment is not too short"
    assert cache.match([*first[:40], 999, *first]).tokens == 40
    assert held(whole) == first, "the lower part stands for the same beginning"
    assert cache.match([*first[: MIN_TOKENS - 1], 999]).tokens == 0
    assert cache.nbytes == 100


def test_what_was_used_longest_ago_goes_first_and_pinned_nodes_stay() -> None:
    cache = PrefixCache(90)
    a, b, c = ([name] * 30 for name in (1, 2, 3))
    for ids in (a, b, c):
        insert(cache, ids)
    cache.match([*a, 0])
    insert(cache, [4] * 30)
    assert [cache.match([*ids, 0]).tokens for ids in (a, b, c)] == [30, 0, 30]
    with cache.pinned([cache.match([*c, 0])]):
        assert cache.evictable_bytes() == 60
        insert(cache, [5] * 60)
        assert [cache.match([*ids, 0]).tokens for ids in (a, c)] == [0, 30]
        assert insert(cache, [6] * 61) is None, "there are not so many bytes"
    assert insert(cache, [6] * 61) is not None


def test_a_node_is_removed_unless_others_need_it() -> None:
    cache = PrefixCache(1000)
    upper = insert(cache, [1] * 20)
    lower = insert(cache, [1] * 20 + [2] * 20)
    cache.remove(upper)
    assert cache.nbytes == 40
    cache.remove(lower)
    cache.remove(lower)
    cache.remove(upper)
    assert cache.nbytes == 0 and not cache.root.children


@settings(deadline=None, max_examples=100)
@given(st.lists(texts, min_size=2, max_size=10))
def test_shared_beginnings_are_found_in_the_end(sequences: list[list[int]]) -> None:
    """Encoding what is found, round by round, leaves no two prompts that share much more than is kept."""
    cache = PrefixCache(100_000)
    for _ in range(20):
        nodes = [cache.match(ids) for ids in sequences]
        found = shared_beginnings(sequences, nodes)
        assert all(end < len(sequences[i]) and end - nodes[i].tokens >= MIN_TOKENS for i, end in found)
        new = [insert(cache, sequences[i][:end]) for i, end in found]
        if not any(new):
            break
    nodes = [cache.match(ids) for ids in sequences]
    for i, a in enumerate(sequences):
        for j in range(i):
            common = min(module._common(a, sequences[j]), len(a) - 1, len(sequences[j]) - 1)
            assert common - nodes[i].tokens < 2 * MIN_TOKENS or common - nodes[j].tokens < 2 * MIN_TOKENS
