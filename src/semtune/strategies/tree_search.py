"""Search in a tree of thoughts (Yao et al. 2023, arXiv:2305.10601): propose, evaluate, keep, backtrack. No model.

Breadth-first search (the paper's algorithm 1) expands the best states of a level together and goes on with the best of
all their children. Depth-first search (algorithm 2) follows the most promising child first, prunes children below a
value, and goes back to the next best sibling where a branch ends. A problem stops either by proposing nothing more,
which is how a budget ends a search; the best state found until then is the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

S = TypeVar("S")


class Problem(Protocol[S]):
    """What is searched. States are any objects, such as the thoughts so far."""

    def propose(self, states: Sequence[S]) -> list[list[S]]:
        """The children of each state; none where it has none, or where the budget is spent."""
        ...

    def evaluate(self, states: Sequence[S]) -> list[float]:
        """How promising each state is: the higher, the more."""
        ...


@dataclass
class Node(Generic[S]):
    """A state that was found."""

    state: S
    depth: int
    """0: the root."""
    parent: int | None
    """Index of the parent among the search's nodes; None: the root."""
    value: float
    """As evaluated; the root's is 0."""
    expanded: bool = False
    """Whether children of it were asked for."""


@dataclass
class Tree(Generic[S]):
    """All that a search has found, in the order in which it was found."""

    nodes: list[Node[S]] = field(default_factory=list)

    @property
    def best(self) -> Node[S]:
        """The best state of the deepest level reached, the first of equals; the root where nothing was found."""
        return max(self.nodes, key=lambda node: (node.depth, node.value))

    def expand(self, parents: Sequence[int], problem: Problem[S]) -> list[int]:
        """Propose and evaluate the children of the nodes `parents`; their indices, the most promising first."""
        for index in parents:
            self.nodes[index].expanded = True
        proposed = problem.propose([self.nodes[index].state for index in parents])
        children = [(index, s) for index, states in zip(parents, proposed, strict=True) for s in states]
        if not children:
            return []
        first = len(self.nodes)
        values = problem.evaluate([state for _, state in children])
        for (index, state), value in zip(children, values, strict=True):
            self.nodes.append(Node(state, self.nodes[index].depth + 1, index, value))
        return sorted(range(first, len(self.nodes)), key=lambda index: -self.nodes[index].value)


def breadth_first(root: S, problem: Problem[S], *, depth: int, keep: int) -> Tree[S]:
    """Search level by level with a beam of `keep` states, down to `depth` levels below the root."""
    tree = Tree([Node(root, 0, None, 0.0)])
    beam = [0]
    for _ in range(depth):
        beam = tree.expand(beam, problem)[:keep]
        if not beam:
            break
    return tree


def depth_first(root: S, problem: Problem[S], *, depth: int, prune_below: float, enough: float) -> Tree[S]:
    """Search branch by branch, the most promising one first, down to `depth` levels below the root.

    Args:
        prune_below: no children are asked for of a state with a lower value.
        enough: the search ends with the first state at `depth` that has at least this value.
    """
    tree = Tree([Node(root, 0, None, 0.0)])
    open_nodes = [0]  # the next one last
    while open_nodes:
        index = open_nodes.pop()
        node = tree.nodes[index]
        if node.depth == depth:
            if node.value >= enough:
                break
            continue
        children = tree.expand([index], problem)
        open_nodes += [child for child in reversed(children) if tree.nodes[child].value >= prune_below]
    return tree
