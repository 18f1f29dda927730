"""Chain of thought, self-consistency and tree of thought, with a scripted model."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from semtune.contracts import TaskContext
from semtune.errors import OptionError
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, LabelSet, Prediction, TargetSpace
from semtune.registry import STRATEGIES
from semtune.strategies.voting import vote

from .scripted import Scripted

SETS = TargetSpace("label_set", ("good", "bad", "mixed"))
ONE = TargetSpace("single_label", ("good", "bad", "mixed"))
EXAMPLE = Example("1", "warm soup", LabelSet(("bad",)))


def strategy(name: str, space: TargetSpace = SETS, **options):
    cls = STRATEGIES.get(name)
    return cls(TaskContext("it", space, ()), ReportPrompt(space), cls.Settings(**options))


def test_a_chain_of_thought_stands_between_text_and_answer() -> None:
    def write(prompt: str) -> str:
        return " It is warm.\n" if prompt.endswith("step by step.") else " good"

    generator = Scripted(write=write)
    prediction = strategy("chain-of-thought", thought_tokens=50, prompt_tokens=300).run(EXAMPLE, generator)
    assert prediction.labels == ("good",)
    first, second = generator.prompts
    assert first.endswith("Text: warm soup\nLet's think step by step.")
    assert second == first + " It is warm.\nTherefore, the answer is: <tech:>"
    assert generator.limits == [250, 300], "the answer's prompt has room for the thoughts"
    assert generator.notes == [{"thought": "It is warm."}]
    assert not any("bad" in prompt.split("Text:")[1] for prompt in generator.prompts), "no gold label"


def chains_that_say(*answers: str) -> Scripted:
    """Chain number n is "n", whatever its seed is, and its answer the n-th one."""
    count = iter(range(len(answers)))

    def write(prompt: str) -> str:
        return answers[int(prompt.split("step by step. ")[1].split("\n")[0])]

    return Scripted(write=write, draw=lambda prompt, seed: f" {next(count)}")


def test_self_consistency_votes_label_by_label() -> None:
    generator = chains_that_say(" good", " good, mixed", " bad, mixed", " good, mixed", " nonsense")
    prediction = strategy("self-consistency", answer="free", chains=5).run(EXAMPLE, generator)
    assert prediction.labels == ("good", "mixed")
    assert prediction.probabilities == {"good": 0.75, "bad": 0.25, "mixed": 0.75}, "one answer had no vote"
    assert prediction.parsed
    assert len(set(generator.seeds)) == 5
    (note,) = generator.notes
    assert [chain["thought"] for chain in note["chains"]] == ["0", "1", "2", "3", "4"]
    assert note["chains"][4] == {"thought": "4", "labels": [], "parsed": False}


def test_self_consistency_of_one_label_is_the_majority() -> None:
    generator = chains_that_say(" bad", " mixed", " bad")
    prediction = strategy("self-consistency", ONE, chains=3).run(EXAMPLE, generator)
    assert prediction.labels == ("bad",)
    assert prediction.probabilities == pytest.approx({"good": 0, "bad": 2 / 3, "mixed": 1 / 3}, abs=1e-6)


def test_the_seeds_of_a_text_do_not_depend_on_other_texts() -> None:
    seeds = {}
    for order in (("1", "2"), ("2", "1")):
        asked = strategy("self-consistency", chains=3, seed=5)
        for example_id in order:
            generator = chains_that_say(" good", " good", " good")
            asked.run(Example(example_id, "soup", None), generator)
            seeds.setdefault(example_id, []).append(generator.seeds)
    assert all(first == second for first, second in seeds.values())
    generator = chains_that_say(" good", " good", " good")
    strategy("self-consistency", chains=3, seed=6).run(Example("1", "soup", None), generator)
    assert set(generator.seeds).isdisjoint(seeds["1"][0])


def test_probabilities_of_chains_are_averaged_and_decided_by_the_threshold() -> None:
    likely = {"0": 0.2, "1": 0.3, "2": 0.7}
    generator = chains_that_say("", "", "")

    def score(prompt: str, completion: str) -> float:
        p = likely[prompt.split("step by step. ")[1].split("\n")[0]]
        return math.log(p if completion.endswith("yes") else 1 - p)

    generator.score = score
    voting = strategy("self-consistency", answer="yes-no", chains=3)
    voting.set_threshold(0.39)
    prediction = voting.run(EXAMPLE, generator)
    assert prediction.probabilities == pytest.approx(dict.fromkeys(SETS.labels, 0.4), abs=1e-5)
    assert prediction.labels == SETS.labels


def test_a_vote_needs_more_than_half_and_someone_who_parsed() -> None:
    half = [Prediction("1", LabelSet(("good",))), Prediction("1", LabelSet(()))]
    assert vote(half, SETS).labels == ()
    lost = vote([Prediction("1", LabelSet(("good",)), parsed=False)], SETS)
    assert (lost.labels, lost.parsed, lost.probabilities) == ((), False, None)


RIGHT = ("the soup pleases", "so it is good")


def thinking() -> Scripted:
    """A model whose first thoughts mislead: "it is cold" looks best at first, and nothing good follows it."""

    def draw(prompt: str, seed: int) -> str:
        thoughts = prompt.split("and why:")[1]
        if thoughts == "\n1.":
            return f" {('it is cold', RIGHT[0], 'no idea')[seed % 3]}\n"
        return f" {RIGHT[1]}\n" if RIGHT[0] in thoughts else " nothing follows\n"

    def score(prompt: str, completion: str) -> float:
        thoughts = prompt.split("and why:")[1]
        sure = 0.05
        if RIGHT[1] in thoughts:
            sure = 0.98
        elif "nothing follows" in thoughts:
            sure = 0.01
        elif "it is cold" in thoughts:
            sure = 0.7
        elif RIGHT[0] in thoughts:
            sure = 0.6
        return math.log({" sure": sure, " likely": 0.004, " impossible": 0.996 - sure}[completion])

    def write(prompt: str) -> str:
        return " good" if RIGHT[1] in prompt else " bad"

    return Scripted(write, draw, score)


TREE = {"depth": 2, "breadth": 12, "tree_tokens": 4000}


def test_a_tree_finds_what_the_most_promising_first_thought_does_not_lead_to() -> None:
    assert strategy("tree-of-thought", keep=1, **TREE).run(EXAMPLE, thinking()).labels == ("bad",), "greedy"
    for options in ({"keep": 2}, {"search": "depth-first"}):
        generator = thinking()
        prediction = strategy("tree-of-thought", **TREE, **options).run(EXAMPLE, generator)
        assert prediction.labels == ("good",)
        written = "Thoughts about which labels apply, and why:\n1. the soup pleases\n2. so it is good"
        assert generator.prompts[-1].endswith(f"{written}\nTherefore, the answer is: <tech:>")
        (note,) = generator.notes
        best = next(node for node in note["nodes"] if node["node"] == note["best"])
        assert best["thought"] == RIGHT[1] and best["value"] == pytest.approx(0.982)
        parent = next(node for node in note["nodes"] if node["node"] == best["parent"])
        assert (parent["thought"], parent["expanded"], parent["parent"]) == (RIGHT[0], True, 0)
        siblings = Counter((node["parent"], node["thought"]) for node in note["nodes"])
        assert max(siblings.values()) == 1, "equal thoughts are one"


def test_votes_decide_among_all_states_of_a_level() -> None:
    generator = thinking()

    def score(prompt: str, completion: str) -> float:
        choice = prompt.split(f"Choice {completion.strip().strip('.')}: ")[1].split("\n")[0]
        return math.log(0.9) if RIGHT[1] in choice or choice == RIGHT[0] else math.log(0.05)

    generator.score = score
    prediction = strategy("tree-of-thought", keep=1, evaluator="vote", **TREE).run(EXAMPLE, generator)
    assert prediction.labels == ("good",)


@pytest.mark.parametrize("search", ["breadth-first", "depth-first"])
@pytest.mark.parametrize("budget", [30, 70, 200])
def test_a_search_stays_within_its_tokens_and_answers_all_the_same(search: str, budget: int) -> None:
    generator = thinking()
    tree = strategy("tree-of-thought", search=search, thought_tokens=30, breadth=4, tree_tokens=budget)
    assert tree.run(EXAMPLE, generator).labels in (("good",), ("bad",))
    assert 0 < sum(map(len, generator.sampled_texts)) <= budget  # a token is a character here
    assert generator.notes[0]["tokens"] == sum(map(len, generator.sampled_texts))


def test_a_model_without_thoughts_answers_the_question() -> None:
    generator = Scripted(write=lambda prompt: " mixed", draw=lambda prompt, seed: "\n \n")
    assert strategy("tree-of-thought").run(EXAMPLE, generator).labels == ("mixed",)
    assert generator.notes[0]["nodes"] == []


def test_options_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(OptionError, match="evaluator=value or search=breadth-first"):
        strategy("tree-of-thought", search="depth-first", evaluator="vote")
    with pytest.raises(OptionError, match="raise tree_tokens"):
        strategy("tree-of-thought", thought_tokens=60, tree_tokens=50)
    for name in ("chain-of-thought", "self-consistency", "tree-of-thought"):
        with pytest.raises(OptionError, match="raise prompt_tokens or lower thought_tokens"):
            strategy(name, prompt_tokens=100, thought_tokens=100)


@pytest.mark.parametrize("name", ["chain-of-thought", "self-consistency", "tree-of-thought"])
def test_a_strategy_is_read_back(name: str, tmp_path: Path) -> None:
    context = TaskContext("it", SETS, (), {"good": "it pleases"})
    cls = STRATEGIES.get(name)
    settings = cls.Settings(answer="yes-no")
    first = cls(context, ReportPrompt(SETS), settings)
    first.set_threshold(0.125)
    first.save(tmp_path)
    second = cls(TaskContext("it", SETS, ()), ReportPrompt(SETS), settings)
    second.load(tmp_path)
    assert second.state() == first.state()
    assert second.preamble() == first.preamble()
