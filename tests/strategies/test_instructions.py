"""The wording of the instruction: registered ones, the user's own, and which strategies have the option."""

from __future__ import annotations

import pytest

from semtune.errors import OptionError, UnknownNameError
from semtune.records import RunSpec, TargetKind
from semtune.registry import INSTRUCTIONS, STRATEGIES
from semtune.specs import resolve

from .conftest import Remembering, examples, fitted


def prompt_with(strategy: str, kind: TargetKind = "label_set", **options: object) -> str:
    generator = Remembering()
    fitted(strategy, kind, **options).run(examples(kind)[0], generator)
    return generator.prompts[-1]


@pytest.mark.parametrize("kind", ["label_set", "single_label"])
def test_each_wording_changes_the_first_line_alone(kind: TargetKind) -> None:
    prompts = {name: prompt_with("few-shot", kind, instruction=name, demonstrations=2) for name in INSTRUCTIONS}
    first = [prompt.partition("\n")[0] for prompt in prompts.values()]
    assert len(set(first)) == len(first) == 4
    assert len({prompt.partition("\n")[2] for prompt in prompts.values()}) == 1
    assert prompt_with("few-shot", kind, demonstrations=2) == prompts["question"]


def test_an_instruction_of_ones_own() -> None:
    prompt = prompt_with("zero-shot", instruction="  Name what fits, if anything. ")
    assert prompt.startswith("Name what fits, if anything.\n- good\n")


def test_every_strategy_that_writes_a_prompt_has_it() -> None:
    having = {name for name in STRATEGIES if "instruction" in STRATEGIES.get(name).Settings.__dataclass_fields__}
    assert having == set(STRATEGIES) - {"knn-vote"}


@pytest.mark.parametrize("given", ["qestion", "", " "])
def test_a_mistyped_name_is_no_text_of_ones_own(given: str) -> None:
    spec = RunSpec("practice", approach="prompted", strategy="zero-shot", strategy_options={"instruction": given})
    with pytest.raises(UnknownNameError, match=r"no instruction called .* at least two words; .*question"):
        resolve(spec)


def test_a_wording_from_outside_is_one_object() -> None:
    INSTRUCTIONS.register("terse", {"label_set": "Labels?"}, "one word")
    try:
        assert prompt_with("retrieval", instruction="terse").startswith("Labels?\n- good\n")
        with pytest.raises(OptionError, match='"terse" has no wording for this kind of task'):
            fitted("retrieval", "single_label", instruction="terse")
    finally:
        INSTRUCTIONS.unregister("terse")
