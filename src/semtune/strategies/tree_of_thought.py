"""Tree of thoughts (Yao et al. 2023, arXiv:2305.10601): a search among short thoughts, then the answer from the best.

A state is the thoughts so far, one a line. Children are sampled with a temperature. They are evaluated by the
probabilities of the words sure, likely and impossible after a question on each state (`value`), or of the numbers of
the choices after a question on all candidates (`vote`); a probability is the expectation of the paper's sampled values
and votes, at the price of a single forward. The budget counts generated tokens, as the tokenizer writes the thoughts; a
thought is asked for only where the budget allows its full length. A spent one ends the search with its best state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from semtune.contracts import NO_MAX_LENGTH, Prompt, PromptParts, StrategyGenerator, TaskContext
from semtune.errors import OptionError
from semtune.generation.sampling import text_seed
from semtune.records import Example, Prediction, option
from semtune.records.options import MOST_TOKENS
from semtune.strategies.answers.free import first_line
from semtune.strategies.base import BaseStrategy, StrategySettings
from semtune.strategies.chains import CONCLUDE, check_room
from semtune.strategies.tree_search import Node, Tree, breadth_first, depth_first

Thoughts = tuple[str, ...]

THINK = "\nThoughts about which labels apply, and why:"
VALUE_QUESTION = "\nAre these thoughts right? Answer sure, likely or impossible:"
VALUE_OF_WORD = {" sure": 1.0, " likely": 0.5, " impossible": 0.0}
VOTE_QUESTION = "\nWhich of these choices has the best thoughts about the labels of the text?"


class TreeOfThought(BaseStrategy):
    """Registered as "tree-of-thought"; `contracts.Strategy`."""

    name: ClassVar[str] = "tree-of-thought"

    @dataclass(frozen=True, slots=True)
    class Settings(StrategySettings):
        """Options of the search."""

        search: Literal["breadth-first", "depth-first"] = option(
            "breadth-first",
            help="breadth-first (all branches level by level, the best are kept), or depth-first (one branch, back "
            "where it does not go on).",
        )
        depth: int = option(2, unit="thoughts", at_least=1, at_most=100, help="Thoughts before the answer.")
        breadth: int = option(3, unit="thoughts", at_least=1, at_most=1000, help="Thoughts proposed after each state.")
        keep: int = option(
            2, unit="states", at_least=1, at_most=1000, help="States kept on each level of a breadth-first search."
        )
        evaluator: Literal["value", "vote"] = option(
            "value",
            help="value (how probable sure, likely and impossible are for each state), or vote (which of all states "
            "of a level is the best; breadth-first alone).",
        )
        prune_below: float = option(
            0.2, at_least=0, at_most=1, help="A depth-first search leaves states of a lower value (0 to 1)."
        )
        enough: float = option(
            0.8, at_least=0, at_most=1, help="A depth-first search ends with the first whole state of this value."
        )
        thought_tokens: int = option(
            48, unit="tokens", at_least=1, at_most=MOST_TOKENS, help="Longest thought; it ends with its line."
        )
        tree_tokens: int = option(
            1024, unit="tokens", at_least=1, at_most=MOST_TOKENS, help="Tokens that a text's whole search may generate."
        )
        temperature: float = option(
            0.7, above=0, at_most=100, help="Temperature at which thoughts are sampled, with the run's seed."
        )

    settings: Settings

    def __init__(self, context: TaskContext, prompt: Prompt, settings: Settings) -> None:
        """Raises OptionError for options that exclude each other."""
        super().__init__(context, prompt, settings)
        check_room(self.name, settings.prompt_tokens, settings.depth * settings.thought_tokens)
        if settings.thought_tokens > settings.tree_tokens:
            raise OptionError(
                f"A thought may take {settings.thought_tokens:,} tokens but the whole search only "
                f"{settings.tree_tokens:,}; raise tree_tokens or lower thought_tokens."
            )
        if settings.search == "depth-first" and settings.evaluator == "vote":
            raise OptionError(
                "The evaluator vote compares the states of one level, which a depth-first search cannot; give "
                "evaluator=value or search=breadth-first."
            )

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """The answer after the best thoughts found. Raises DataError where the prompt exceeds its limit."""
        s = self.settings
        self.cite(self.retrieved(example), generator)
        problem = _Thinking(self.question(example), example.id, s, generator)
        root: Thoughts = ()
        if s.search == "breadth-first":
            tree = breadth_first(root, problem, depth=s.depth, keep=s.keep)
        else:
            tree = depth_first(root, problem, depth=s.depth, prune_below=s.prune_below, enough=s.enough)
        best = tree.best
        generator.note({**_noted(tree, best), "tokens": s.tree_tokens - problem.tokens_left})
        suffix = f"{_written(best.state)}{CONCLUDE}{problem.parts.suffix}"
        return self.answer.run(example.id, dataclasses.replace(problem.parts, suffix=suffix), generator)


class _Thinking:
    """The thoughts about one text; `tree_search.Problem`."""

    def __init__(
        self, parts: PromptParts, example_id: str, settings: TreeOfThought.Settings, generator: StrategyGenerator
    ) -> None:
        self.parts, self._id, self._settings, self._generator = parts, example_id, settings, generator
        self.tokens_left = settings.tree_tokens

    def propose(self, states: Sequence[Thoughts]) -> list[list[Thoughts]]:
        """Up to `breadth` different thoughts after each state, as many as the budget allows in full length."""
        s = self._settings
        wanted = [(row, number) for row in range(len(states)) for number in range(s.breadth)]
        wanted = wanted[: self.tokens_left // s.thought_tokens]
        children: list[list[Thoughts]] = [[] for _ in states]
        if not wanted:
            return children
        limit = s.prompt_tokens - s.thought_tokens
        prompts = [self._generator.encode(self._asking(f"{_written(t)}\n{len(t) + 1}."), limit) for t in states]
        completions = self._generator.sample(
            [prompts[row] for row, _ in wanted],
            s.thought_tokens,
            temperature=s.temperature,
            seeds=[text_seed(s.seed, self._id, *states[row], number) for row, number in wanted],
            stop="\n",
        )
        for (row, _), completion in zip(wanted, completions, strict=True):
            self.tokens_left -= min(self._count(completion), s.thought_tokens)
            thought = first_line(completion)
            child = (*states[row], thought)
            if thought and child not in children[row]:
                children[row].append(child)
        return children

    def evaluate(self, states: Sequence[Thoughts]) -> list[float]:
        """A value from 0 to 1 for each state."""
        return self._votes(states) if self._settings.evaluator == "vote" else self._values(states)

    def _values(self, states: Sequence[Thoughts]) -> list[float]:
        """The expected value of the words sure, likely and impossible, of each state by itself."""
        prompts = [self._encode(_written(state) + VALUE_QUESTION) for state in states]
        shares = self._generator.loglikelihood(prompts, list(VALUE_OF_WORD), end=False).double().softmax(dim=-1)
        return [sum(p * value for p, value in zip(row, VALUE_OF_WORD.values(), strict=True)) for row in shares.tolist()]

    def _votes(self, states: Sequence[Thoughts]) -> list[float]:
        """The share of votes that each state is expected to get from one ballot with all of them."""
        choices = "".join(f"\nChoice {n}: {' '.join(state)}" for n, state in enumerate(states, start=1))
        ballot = self._encode(f"{VOTE_QUESTION}{choices}\nThe best one is choice")
        numbers = [f" {n}." for n in range(1, len(states) + 1)]
        shares: list[float] = (
            self._generator.loglikelihood([ballot], numbers, end=False)[0].double().softmax(-1).tolist()
        )
        return shares

    def _encode(self, suffix: str) -> tuple[int, ...]:
        return self._generator.encode(self._asking(suffix), self._settings.prompt_tokens)

    def _asking(self, suffix: str) -> PromptParts:
        return dataclasses.replace(self.parts, suffix=suffix)

    def _count(self, completion: str) -> int:
        """Tokens of a completion."""
        return len(self._generator.encode(PromptParts("", completion, "", None), NO_MAX_LENGTH))


def _written(thoughts: Thoughts) -> str:
    """The thoughts as they stand in a prompt, numbered, one a line."""
    return THINK + "".join(f"\n{n}. {thought}" for n, thought in enumerate(thoughts, start=1))


def _noted(tree: Tree[Thoughts], best: Node[Thoughts]) -> dict[str, Any]:
    """The search for a transcript: its nodes in the order in which they were found, without the root."""
    return {
        "nodes": [
            {
                "node": index,
                "parent": node.parent,
                "depth": node.depth,
                "thought": node.state[-1],
                "value": round(node.value, 6),
                "expanded": node.expanded,
            }
            for index, node in enumerate(tree.nodes)
            if node.state
        ],
        "best": next(index for index, node in enumerate(tree.nodes) if node is best),
    }
