"""Calls of many texts' generators, run together: continuous batching behind beginnings that are encoded once.

Calls are submitted at any time and advanced step by step. A step of generation is one forward over all requests: each
decodes, or reads what is left of its prompt behind the longest kept beginning (`prefix_cache`); a request that
finishes makes room for a waiting one. Requests that share a kept beginning form a group, for which its keys and
values exist once (`nn.shared_keys`). What else of a prompt is kept is copied into the request's own row.

Beginnings are kept in two ways: those that waiting prompts share are run before the prompts, once; and a finished
request leaves its prompt and completion, so that a text's next call continues them, until the text is done (`forget`).

**Memory.** Half of `max_bytes` is for kept beginnings, which are evicted, half for the rows of requests in flight. A
request is admitted when the rows fit into that half at their largest: (tokens behind the shared beginning +
`max_new_tokens`) · bytes of a token's keys and values, each row as long as the longest of its group. One request is
always admitted. A forward reads about `FORWARD_TOKENS` tokens of prompts at most, or one longer prompt.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from semtune.contracts import Cache, CacheSegment, Constraint, LoadedModel
from semtune.generation.decoding import Group, Request, advance
from semtune.generation.grouping import consecutive_groups
from semtune.generation.loglikelihood import behind_ends, loglikelihood, separate_paths
from semtune.generation.prefix_cache import Node, PrefixCache, shared_beginnings
from semtune.generation.prompt_lookup import PromptLookup
from semtune.generation.sampling import draw, stops

FORWARD_TOKENS = 512
"""About as many prompt tokens run in one forward: more are hardly faster, and memory stays bounded."""
WINDOW = 256
"""The waiting prompts that are searched for shared beginnings, and about as many as one step of scoring handles."""
LEVELS = 8
"""Beginnings that contain each other are encoded in so many rounds at most."""

Ids = Sequence[int]


@dataclass(eq=False)
class PromptRequest(Request):
    """A request that remembers its prompt."""

    prompt_ids: Ids = ()
    own_tokens: int = 0
    """Most tokens of its row behind the shared beginning; known when it is admitted."""
    kept: Node | None = None
    """The node with its prompt and completion; known when it is finished."""
    seconds: float = 0.0


@dataclass(eq=False)
class Generation:
    """A call of `Generator.generate`."""

    requests: list[PromptRequest]

    @property
    def done(self) -> bool:
        """Whether all completions are there."""
        return all(request.finished for request in self.requests)

    @property
    def seconds(self) -> float:
        """Its share of the steps' seconds so far."""
        return sum(request.seconds for request in self.requests)


@dataclass(eq=False)
class Scoring:
    """A call of `Generator.loglikelihood`."""

    prompts: Sequence[Ids]
    completions: Sequence[Ids]
    values: Tensor | None = None
    """(prompts, completions); None: not known yet."""
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the values are there."""
        return self.values is not None


Call = Generation | Scoring


@dataclass
class Engine:
    """Runs calls; see the module.

    Args:
        max_bytes: of keys and values, those kept and those in use together.
        clock: the time in seconds, after the device has finished its work.
    """

    loaded: LoadedModel
    max_bytes: int
    clock: Callable[[], float]
    _waiting: list[PromptRequest] = field(default_factory=list, init=False)
    _scorings: list[Scoring] = field(default_factory=list, init=False)
    _groups: dict[Node, Group] = field(default_factory=dict, init=False)
    _lookups: dict[int, PromptLookup] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._can_share = self.loaded.new_cache(0).rewindable
        self._kept = PrefixCache(self.max_bytes // 2)
        self._token_bytes = self._measure() if self._can_share else 0
        """Bytes of one token's keys and values in all layers."""

    def generation(
        self, prompts: Sequence[Ids], max_new_tokens: int, constraint: Constraint | None = None
    ) -> Generation:
        """Submit prompts to be continued; drafts are learnt from all completions under the same constraint."""
        lookup = self.prompt_lookup(constraint)
        requests = [PromptRequest(ids, max_new_tokens, constraint, lookup, prompt_ids=ids) for ids in prompts]
        self._waiting += requests
        return Generation(requests)

    def sampling(
        self, prompts: Sequence[Ids], max_new_tokens: int, temperature: float, seeds: Sequence[int], stop: str | None
    ) -> Generation:
        """Submit prompts to be continued at random; what `sampling.sample` returns, whatever runs beside them."""
        call = self.generation(prompts, max_new_tokens)
        for request, seed in zip(call.requests, seeds, strict=True):
            random = torch.Generator().manual_seed(seed)
            request.draw = functools.partial(draw, temperature=temperature, random=random)
            request.stops = functools.partial(stops, self.loaded, stop=stop)
        return call

    def scoring(self, prompts: Sequence[Ids], completions: Sequence[Ids]) -> Scoring:
        """Submit prompts behind which completions are scored."""
        self._scorings.append(Scoring(prompts, completions))
        return self._scorings[-1]

    def forget(self, calls: Sequence[Call]) -> None:
        """Give up what was kept of these calls for later calls of the same text; what other texts use stays."""
        for call in reversed(calls):
            for request in call.requests if isinstance(call, Generation) else ():
                if request.kept is not None:
                    self._kept.remove(request.kept)

    def prompt_lookup(self, constraint: Constraint | None) -> PromptLookup:
        """What drafts under `constraint` are looked up in; the same object for the same constraint."""
        lookup = self._lookups.get(id(constraint))
        if lookup is None:
            lookup = self._lookups[id(constraint)] = PromptLookup(self.loaded.tokenizer.eos_id)
        return lookup

    @torch.no_grad()
    def step(self) -> None:
        """Advance the calls by one forward, or score. Raises DivergedError."""
        started = self.clock()
        worked = self._score() if self._scorings else self._decode()
        seconds, total = self.clock() - started, sum(tokens for _, tokens in worked)
        for call, tokens in worked:
            call.seconds += seconds * tokens / total

    @torch.no_grad()
    def _measure(self) -> int:
        """Bytes of the keys and values of one token, by running one."""
        cache = self.loaded.new_cache(1)
        self._last_states([([[self.loaded.tokenizer.eos_id]], cache)])
        return cache.cut(0, 0, 1).nbytes

    def _decode(self) -> list[tuple[PromptRequest | Scoring, int]]:
        """One forward; the requests that took part and how many tokens each, drafts not counted."""
        prefill = self._admit()
        groups = [*self._groups.values(), *prefill.values()]
        worked: list[tuple[PromptRequest | Scoring, int]] = [
            (request, len(request.pending_ids))
            for group in groups
            for request in group.requests
            if isinstance(request, PromptRequest)
        ]
        finished = advance(self.loaded, groups) if groups else []
        for group in groups if finished and self._can_share else ():
            self._keep_finished(group)
        for stem, group in prefill.items():
            group.drop_finished()
            if stem in self._groups:
                self._groups[stem].drop_finished()
                self._groups[stem].join(group)
                stem.pins -= 1
            else:
                self._groups[stem] = group
        for stem, group in list(self._groups.items()):
            group.drop_finished()
            if not group.requests:
                del self._groups[stem]
                stem.pins -= 1
        return worked

    def _admit(self) -> dict[Node, Group]:
        """Take waiting requests that fit, as groups with caches that hold what is kept of their prompts."""
        window = sorted(self._waiting[:WINDOW], key=lambda request: len(request.prompt_ids))  # rows are padded
        nodes = self._known([request.prompt_ids for request in window])
        rows = {
            stem: [r.own_tokens for r in g.requests if isinstance(r, PromptRequest)] for stem, g in self._groups.items()
        }
        admitted: dict[Node, list[tuple[PromptRequest, Node]]] = {}
        prompt_tokens = 0
        for request, node, stem in zip(window, nodes, self._stems(nodes), strict=True):
            request.pending_ids = request.prompt_ids[node.tokens :]
            request.own_tokens = len(request.prompt_ids) - stem.tokens + request.max_new_tokens
            rows.setdefault(stem, []).append(request.own_tokens)
            prompt_tokens += len(request.pending_ids)
            if admitted and prompt_tokens > FORWARD_TOKENS:
                break
            if len(rows) > 1 or len(rows[stem]) > 1:  # not the first one of all
                bytes_needed = self._token_bytes * sum(max(own) * len(own) for own in rows.values())
                if bytes_needed > self.max_bytes - self._kept.max_bytes:
                    break
            admitted.setdefault(stem, []).append((request, node))
        taken = window[: sum(map(len, admitted.values()))]
        self._waiting = [request for request in self._waiting if request not in taken]
        for stem in admitted:
            stem.pins += 1  # until its group is gone
        return {
            stem: Group([request for request, _ in members], self._cache(stem, [node for _, node in members]))
            for stem, members in admitted.items()
        }

    def _known(self, prompts: Sequence[Ids]) -> list[Node]:
        """The deepest kept node of each prompt, after beginnings that they share have been encoded."""
        if not self._can_share:
            return [self._kept.root] * len(prompts)
        for _ in range(LEVELS):
            nodes = [self._kept.match(prompt) for prompt in prompts]
            with self._kept.pinned(nodes):
                free = self._kept.evictable_bytes()
                beginnings = [(prompts[i][:end], nodes[i]) for i, end in shared_beginnings(prompts, nodes)]
                needed = itertools.accumulate((len(ids) - node.tokens) * self._token_bytes for ids, node in beginnings)
                beginnings = [found for found, n in zip(beginnings, needed, strict=True) if n <= free]
                if not beginnings:
                    return nodes
                self._encode(beginnings)
        return [self._kept.match(prompt) for prompt in prompts]

    def _encode(self, beginnings: Sequence[tuple[Ids, Node]]) -> None:
        """Run beginnings, each behind its node, and keep them."""
        for chunk in consecutive_groups([len(ids) - node.tokens for ids, node in beginnings], FORWARD_TOKENS):
            texts = [(ids[node.tokens :], self._cache(node, [node])) for ids, node in (beginnings[i] for i in chunk)]
            self._last_states([([ids], cache) for ids, cache in texts])
            for i, (_, cache) in zip(chunk, texts, strict=True):
                self._kept.insert(beginnings[i][0], _cutter(cache, 0))

    def _last_states(self, groups: Sequence[tuple[Sequence[Ids], Cache]]) -> Tensor:
        """Run new tokens of texts; the state of each text's last token, (texts, hidden_size)."""
        ends = list(itertools.accumulate(len(ids) for texts, _ in groups for ids in texts))
        input_ids, batch = self.loaded.pack_groups(groups)
        return self.loaded.hidden_states(input_ids, batch, [end - 1 for end in ends])

    def _stems(self, nodes: Sequence[Node]) -> list[Node]:
        """For each prompt's node the deepest one at or above it that others use too, or a group in flight has."""
        users = Counter(above for node in nodes for above in node.path())
        return [
            next(
                (above for above in reversed(node.path()) if users[above] > 1 or above in self._groups), self._kept.root
            )
            for node in nodes
        ]

    def _cache(self, stem: Node, nodes: Sequence[Node]) -> Cache:
        """A cache of texts that begin with the tokens of `nodes[i]`, those of `stem` shared."""
        cache = self.loaded.new_cache(len(nodes))
        if self._can_share:
            shared = stem.segments()
            cache.begin(shared, [node.segments()[len(shared) :] for node in nodes])
        return cache

    def _keep_finished(self, group: Group) -> None:
        """Keep prompts and completions of the requests of `group` that are finished."""
        for row, request in enumerate(group.requests):
            if request.finished and isinstance(request, PromptRequest):
                ids = [*request.prompt_ids, *request.generated_ids][: group.cache.lengths[row]]
                request.kept = self._kept.insert(ids, _cutter(group.cache, row))

    def _score(self) -> list[tuple[PromptRequest | Scoring, int]]:
        """Score the calls that have the same completions as the first one; them and how many prompts each."""
        same = [s for s in self._scorings if list(s.completions) == list(self._scorings[0].completions)]
        counts = itertools.accumulate(len(scoring.prompts) for scoring in same)
        calls = [s for i, (s, n) in enumerate(zip(same, counts, strict=True)) if i == 0 or n <= WINDOW]
        self._scorings = [s for s in self._scorings if s not in calls]
        prompts = [prompt for scoring in calls for prompt in scoring.prompts]
        known = [node.tokens for node in self._known(prompts)]
        states = self._states if self._can_share else None
        values = loglikelihood(self.loaded, prompts, calls[0].completions, states=states, known_tokens=known)
        for scoring, part in zip(calls, torch.split(values, [len(s.prompts) for s in calls]), strict=True):
            scoring.values = part
        return [(scoring, len(scoring.prompts)) for scoring in calls]

    def _states(
        self, loaded: LoadedModel, prompts: Sequence[Ids], inputs: Sequence[Ids]
    ) -> tuple[Tensor, list[tuple[int, ...]]]:
        """`loglikelihood.States` behind kept beginnings: prompts first, then all inputs behind each prompt."""
        nodes = [self._kept.match(prompt) for prompt in prompts]
        members: dict[Node, list[int]] = {}
        for i, stem in enumerate(self._stems(nodes)):
            members.setdefault(stem, []).append(i)
        caches = {stem: self._cache(stem, [nodes[i] for i in rows]) for stem, rows in members.items()}
        ends = self._last_states(
            [([prompts[i][nodes[i].tokens :] for i in rows], caches[stem]) for stem, rows in members.items()]
        )
        order = [i for rows in members.values() for i in rows]
        ends = ends[torch.tensor(order, device=ends.device).argsort()]  # (texts, hidden_size)
        continued = [tokens for tokens in inputs if tokens]
        if not continued:
            return ends, separate_paths(inputs)
        behind: list[tuple[Sequence[Ids], Cache]] = []
        for i in range(len(prompts)):
            stem = next(stem for stem, rows in members.items() if i in rows)
            own = caches[stem].cut(members[stem].index(i), stem.tokens, len(prompts[i]))
            behind.append((continued, loaded.new_cache(len(continued))))
            behind[-1][1].begin([*stem.segments(), own], [[]] * len(continued))
        input_ids, batch = loaded.pack_groups(behind)
        return behind_ends(ends, loaded.hidden_states(input_ids, batch)), separate_paths(inputs)


def _cutter(cache: Cache, row: int) -> Callable[[int, int], CacheSegment]:
    """What `PrefixCache.insert` takes: cuts the tokens out of one row."""
    return functools.partial(cache.cut, row)
