"""Ways of answering behind a zero-shot prompt, with a scripted model: what is asked, and how it is read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from semtune.contracts import TaskContext
from semtune.errors import DivergedError, ModelError, OptionError, UnknownNameError
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, RunSpec, TargetSpace
from semtune.registry import ANSWERS
from semtune.specs import resolve
from semtune.strategies.zero_shot import ZeroShot

from .scripted import Scripted

SETS = TargetSpace("label_set", ("good", "bad", "mixed"))
ONE = TargetSpace("single_label", ("good", "bad", "mixed"))
EXAMPLE = Example("1", "warm soup", None)


def zero_shot(answer: str, space: TargetSpace = SETS, **options) -> ZeroShot:
    return ZeroShot(TaskContext("it", space, ()), ReportPrompt(space), ZeroShot.Settings(answer=answer, **options))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_yes_no_asks_about_every_label_and_keeps_its_probabilities() -> None:
    wanted = {"good": 0.9, "bad": 0.2, "mixed": 0.5}

    def score(prompt: str, completion: str) -> float:
        label = next(label for label in wanted if f"? {label}:" in completion)
        return -40.0 + (logit(wanted[label]) if completion.endswith(": yes") else 0.0)

    generator = Scripted(score=score)
    prediction = zero_shot("yes-no").run(EXAMPLE, generator)
    assert prediction.labels == ("good", "mixed"), "0.5 decides before a threshold is chosen"
    assert prediction.probabilities == pytest.approx(wanted, abs=1e-5)
    (prompt,) = generator.prompts
    assert prompt.endswith("Text: warm soup"), "the marker of another answer is left out"
    assert zero_shot("yes-no", ONE).run(EXAMPLE, Scripted(score=score)).labels == ("good",)
    assert zero_shot("rank").run(EXAMPLE, Scripted(score=score)) == prediction, "sets are ranked label by label"


def test_rank_is_the_softmax_of_the_labels_likelihoods() -> None:
    likelihood = {" good</s>": 0.02, " bad</s>": 0.06, " mixed</s>": 0.02}
    generator = Scripted(score=lambda prompt, completion: math.log(likelihood[completion]))
    prediction = zero_shot("rank", ONE).run(EXAMPLE, generator)
    assert prediction.labels == ("bad",)
    assert prediction.probabilities == pytest.approx({"good": 0.2, "bad": 0.6, "mixed": 0.2}, abs=1e-5)
    assert generator.prompts[0].endswith("warm soup <tech:>")


@pytest.mark.parametrize(
    ("completion", "labels", "parsed"),
    [
        (" good, mixed\nand more", ("good", "mixed"), True),
        ("\n\n  bad.", ("bad",), True),
        (" No technique", (), True),
        (" I think it is good", (), False),
        (" good, splendid", ("good",), False),
        ("", (), False),
    ],
)
def test_free_answers_are_read_from_their_first_line(completion: str, labels: tuple[str, ...], parsed: bool) -> None:
    prediction = zero_shot("free").run(EXAMPLE, Scripted(write=lambda prompt: completion))
    assert (prediction.labels, prediction.parsed, prediction.raw) == (labels, parsed, completion)


def test_a_threshold_is_chosen_on_a_sample_kept_and_read_back(tmp_path: Path) -> None:
    labelled = [Example(str(n), "soup", None) for n in range(30)]
    strategy = zero_shot("yes-no", threshold_texts=10, seed=3)
    chosen = strategy.threshold_examples(labelled)
    assert len({example.id for example in chosen}) == 10
    assert chosen == zero_shot("yes-no", threshold_texts=10, seed=3).threshold_examples(labelled)
    assert chosen != zero_shot("yes-no", threshold_texts=10, seed=4).threshold_examples(labelled)
    assert zero_shot("constrained").threshold_examples(labelled) == []
    assert zero_shot("yes-no", ONE).threshold_examples(labelled) == []
    strategy.set_threshold(0.15)
    strategy.save(tmp_path)
    again = zero_shot("yes-no")
    again.load(tmp_path)
    generator = Scripted(score=lambda prompt, completion: logit(0.2) if completion.endswith(": yes") else 0.0)
    assert again.run(EXAMPLE, generator).labels == SETS.labels
    (tmp_path / "zero_shot.json").write_text(json.dumps({"label_definitions": {}}))
    with pytest.raises(ModelError, match=r"zero_shot\.json"):
        again.load(tmp_path)


def test_probabilities_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(DivergedError, match="probabilities"):
        zero_shot("yes-no").run(EXAMPLE, Scripted(score=lambda prompt, completion: float("nan")))


def test_an_unknown_answer_or_a_prompt_without_a_grammar_is_said() -> None:
    with pytest.raises(UnknownNameError, match='no answer called "yesno"; did you mean "yes-no"'):
        zero_shot("yesno")
    spec = RunSpec("practice", approach="prompted", strategy="self-consistency", strategy_options={"answer": "ranks"})
    with pytest.raises(UnknownNameError, match='did you mean "rank"'):
        resolve(spec)

    class NoGrammar(ReportPrompt):
        name = "loose"

        def grammar(self) -> None:
            return None

    with pytest.raises(OptionError, match='"constrained" needs a prompt with a grammar, which "loose"'):
        ZeroShot(TaskContext("it", SETS, ()), NoGrammar(SETS), ZeroShot.Settings())


def test_an_answer_from_outside_is_one_object() -> None:
    from semtune.strategies.answers.base import BaseAnswer

    class First(BaseAnswer):
        name = "first"

        def run(self, example_id, parts, generator):
            return self.decide(example_id, {label: float(label == "good") for label in self.space.labels})

    ANSWERS.register("first", First, "always the first label")
    try:
        assert zero_shot("first").run(EXAMPLE, Scripted()).labels == ("good",)
        spec = RunSpec("practice", approach="prompted", strategy="zero-shot", strategy_options={"answer": "first"})
        assert resolve(spec).strategy_options["answer"] == "first"
    finally:
        ANSWERS.unregister("first")
