"""Tree search on the game of 24, where the most promising first step is wrong: greedy fails, a search does not.

The proposer and evaluator are scripted; whether an expression is right is checked by Python's own arithmetic.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import pytest

from semtune.strategies.tree_search import Tree, breadth_first, depth_first

State = tuple[tuple[Fraction, str], ...]
"""The numbers that are left, each with the expression that made it."""
NUMBERS = (4, 9, 10, 13)
ROOT: State = tuple((Fraction(n), str(n)) for n in NUMBERS)


class GameOf24:
    """Two numbers are replaced by their sum, difference, product or quotient, until one is left."""

    def __init__(self, proposals: int = 10**9) -> None:
        self.proposals = proposals
        """How many states may still be expanded."""

    def propose(self, states: Sequence[State]) -> list[list[State]]:
        children = []
        for state in states:
            self.proposals -= 1
            children.append(list(self._children(state)) if self.proposals >= 0 else [])
        return children

    def evaluate(self, states: Sequence[State]) -> list[float]:
        """Exact for one or two numbers; for three a poor guess: the more promising, the larger the numbers' sum."""
        return [self._value(state) for state in states]

    def _children(self, state: State):
        for i, j in itertools.permutations(range(len(state)), 2):
            (a, x), (b, y) = state[i], state[j]
            rest = tuple(entry for k, entry in enumerate(state) if k not in (i, j))
            if i < j:
                yield (*rest, (a + b, f"({x}+{y})"))
                yield (*rest, (a * b, f"({x}*{y})"))
            yield (*rest, (a - b, f"({x}-{y})"))
            if b:
                yield (*rest, (a / b, f"({x}/{y})"))

    def _value(self, state: State) -> float:
        numbers = [n for n, _ in state]
        if len(numbers) == 1:
            return float(numbers[0] == 24)
        if len(numbers) == 2:
            return float(any(child[0][0] == 24 for child in self._children(state)))
        return float(min(sum(numbers, Fraction(0)) / 1000, Fraction(1)))


def solved(tree: Tree[State]) -> bool:
    state = tree.best.state
    if len(state) > 1:
        return False
    ((_, expression),) = state
    used = sorted(int(part) for part in expression.translate(str.maketrans("()+*-/", "      ")).split())
    return used == sorted(NUMBERS) and abs(eval(expression) - 24) < 1e-9


def test_greedy_fails_and_a_beam_finds_the_answer() -> None:
    assert not solved(breadth_first(ROOT, GameOf24(), depth=3, keep=1)), "greedy: one state a level"
    wide = breadth_first(ROOT, GameOf24(), depth=3, keep=40)
    assert solved(wide)
    levels = [sum(node.expanded for node in wide.nodes if node.depth == depth) for depth in range(4)]
    assert levels[0] == 1 and all(0 < count <= 40 for count in levels[1:3]) and levels[3] == 0


def test_depth_first_search_goes_back_from_dead_ends() -> None:
    tree = depth_first(ROOT, GameOf24(), depth=3, prune_below=0.01, enough=1.0)
    assert solved(tree)
    expanded = [node for node in tree.nodes if node.expanded]
    assert len(expanded) > 3, "more states than a straight way down has: it went back"
    first_steps = [node for node in tree.nodes if node.depth == 1]
    left = [node.value for node in first_steps if not node.expanded]
    assert min(node.value for node in first_steps if node.expanded) >= max(left), "the most promising first"
    assert all(node.value >= 0.01 for node in expanded if node.depth), "what was pruned has no children"


@pytest.mark.parametrize("expansions", [0, 1, 2, 5])
def test_a_spent_budget_ends_a_search_with_the_best_state_so_far(expansions: int) -> None:
    for tree in (
        breadth_first(ROOT, GameOf24(expansions), depth=3, keep=40),
        depth_first(ROOT, GameOf24(expansions), depth=3, prune_below=0.01, enough=1.0),
    ):
        assert not solved(tree)
        assert tree.best.depth == max(node.depth for node in tree.nodes)
        assert (tree.best is tree.nodes[0]) == (expansions == 0)


def test_a_tree_whose_states_are_all_pruned_still_has_a_best() -> None:
    tree = depth_first(ROOT, GameOf24(), depth=3, prune_below=2.0, enough=3.0)
    assert tree.best.depth == 1
    assert tree.best.value == max(node.value for node in tree.nodes)
