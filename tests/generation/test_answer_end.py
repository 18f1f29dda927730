"""A grammar whose answers end with a text of their own, such as the line break after a demonstration's answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from semtune.contracts import AnswerGrammar
from semtune.generation.constraints import LabelAutomaton

GRAMMAR = AnswerGrammar(start=" ", items=("a", "ab", "b"), separator=", ", none="none", single=False, end="\n")


def accepts(grammar: AnswerGrammar, text: str) -> bool:
    automaton = LabelAutomaton(grammar)
    state = automaton.start()
    for byte in text.encode():
        state = automaton.step(state, byte)
    return automaton.complete(state)


@pytest.mark.parametrize("answer", [" a", " ab", " a, b", " a, ab, b", " none"])
def test_an_answer_is_whole_with_its_end_alone(answer: str) -> None:
    assert accepts(GRAMMAR, answer + "\n")
    assert not accepts(GRAMMAR, answer)
    assert not accepts(GRAMMAR, answer + "\n\n")
    assert accepts(replace(GRAMMAR, end=""), answer)


def test_the_end_ends_a_single_label_too() -> None:
    single = replace(GRAMMAR, single=True)
    assert accepts(single, " ab\n")
    assert not accepts(single, " a, b\n")
    assert not accepts(single, " none\n")
    assert LabelAutomaton(single).max_bytes() >= len(" none\n")
