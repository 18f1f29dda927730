"""The original experiment's prompt: its exact text, and reading completions back, whatever a model says."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from semtune.errors import OptionError
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, LabelSet, TargetSpace
from semtune.tasks.techniques import TECHNIQUES

COMMAS = "Obfuscation, Intentional vagueness, Confusion"
ACCENT = "Thought-terminating cliché"

sets_of_techniques = st.sets(st.sampled_from(TECHNIQUES))
fields = st.sampled_from(["a", "b", "ab", "é", "a b", "No technique", "(x)", "-"])
spaces = st.lists(st.lists(fields, min_size=1, max_size=3).map(", ".join), min_size=1, max_size=5, unique=True)


@pytest.fixture(scope="module")
def techniques() -> ReportPrompt:
    return ReportPrompt(TargetSpace("label_set", tuple(TECHNIQUES)))


def said(prompt: ReportPrompt, labels: tuple[str, ...]) -> str:
    completion = prompt.encode(Example("1", "a text", LabelSet(labels))).completion
    assert completion is not None
    return completion


def whole(prompt: ReportPrompt, text: str, labels: tuple[str, ...]) -> str:
    parts = prompt.encode(Example("1", text, LabelSet(labels)))
    return parts.prefix + parts.text + parts.suffix + (parts.completion or "")


def test_exact_text(techniques: ReportPrompt) -> None:
    assert whole(techniques, "Vote now!", ("Smears",)) == "Vote now! <tech:> Smears"
    assert whole(techniques, " Vote\n\nnow! \n", ("Slogans", "Doubt")) == "Vote\n\nnow! <tech:> Doubt, Slogans"
    assert whole(techniques, "Vote", (ACCENT, COMMAS)) == f"Vote <tech:> {COMMAS}, {ACCENT}"
    assert whole(techniques, "Vote", ()) == "Vote <tech:> No technique"


def test_unlabelled_example_has_no_completion(techniques: ReportPrompt) -> None:
    parts = techniques.encode(Example("1", "a text", None))
    assert parts.completion is None
    assert parts.prefix + parts.text + parts.suffix == "a text <tech:>"


def test_prompt_does_not_depend_on_the_labels(techniques: ReportPrompt) -> None:
    """What is asked at inference is what was trained on."""
    asked = techniques.encode(Example("1", "a text", None))
    trained = techniques.encode(Example("1", "a text", LabelSet(("Smears",))))
    assert (asked.prefix, asked.text, asked.suffix) == (trained.prefix, trained.text, trained.suffix)


@given(sets_of_techniques, st.randoms(use_true_random=False))
@example({COMMAS}, None)
@example({COMMAS, ACCENT, "Bandwagon"}, None)
@example(set(), None)
@example(set(TECHNIQUES), None)
def test_round_trip_over_techniques(chosen: set[str], random) -> None:
    """Whatever the order in the data, one fixed order comes out and the same set is read back."""
    prompt = ReportPrompt(TargetSpace("label_set", tuple(TECHNIQUES)))
    given_order = sorted(chosen)
    if random is not None:
        random.shuffle(given_order)
    completion = said(prompt, tuple(given_order))
    assert completion == said(prompt, tuple(sorted(chosen)))
    parsed = prompt.parse(completion)
    assert parsed.ok
    assert parsed.labels == tuple(label for label in TECHNIQUES if label in chosen)


@settings(max_examples=300)
@given(spaces)
@example(["A", "A, B", "B, C"])  # longest match first would misread "A, B, C"
@example(["a, b", "b, a", "a, b, a"])
def test_round_trip_over_any_label_space_that_is_accepted(labels: list[str]) -> None:
    try:
        prompt = ReportPrompt(TargetSpace("label_set", tuple(labels)))
    except OptionError:
        return  # that these are ambiguous indeed is the next test's question
    for count in range(len(labels) + 1):
        for chosen in itertools.combinations(labels, count):
            parsed = prompt.parse(said(prompt, chosen))
            assert parsed.ok
            assert parsed.labels == chosen


small = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=2).map(", ".join), max_size=4, unique=True)


@settings(max_examples=200, deadline=None)
@given(small)
@example(["A, B", "A", "B"])
@example(["A", "B, C", "A, B", "C"])
def test_refused_exactly_where_two_lists_read_the_same(labels: list[str]) -> None:
    """By brute force: all lists of up to six labels."""
    texts: dict[str, tuple[str, ...]] = {}
    ambiguous = False
    for count in range(1, 7 if len(labels) < 4 else 6):
        for chosen in itertools.product(labels, repeat=count):
            ambiguous |= texts.setdefault(", ".join(chosen), chosen) != chosen
    if ambiguous:
        with pytest.raises(OptionError, match="read in two ways"):
            ReportPrompt(TargetSpace("label_set", tuple(labels)))
    else:
        ReportPrompt(TargetSpace("label_set", tuple(labels)))


def test_one_label_a_text_may_read_like_a_list_of_others() -> None:
    labels = ("Yes", "No", "Yes, No", "No, Yes, No")
    prompt = ReportPrompt(TargetSpace("single_label", tuple(labels)))
    for label in labels:
        parsed = prompt.parse(said(prompt, (label,)))
        assert (parsed.labels, parsed.ok) == ((label,), True)


@pytest.mark.parametrize("answer", ["label_set", "single_label"])
@pytest.mark.parametrize("labels", [("a", " a"), ("a, b", "a,b"), ("a", ""), ("a", "  ")])
def test_labels_that_cannot_be_told_apart_are_refused(labels: tuple[str, ...], answer) -> None:
    with pytest.raises(OptionError):
        ReportPrompt(TargetSpace(answer, tuple(labels)))


def test_label_that_is_called_like_none() -> None:
    labels = ("No technique", "No technique at all", "other")
    prompt = ReportPrompt(TargetSpace("label_set", tuple(labels)))
    assert prompt.parse(said(prompt, ())).labels == ()
    assert prompt.parse(said(prompt, ())).ok
    assert prompt.parse(said(prompt, ("No technique",))).labels == ("No technique",)
    assert said(prompt, ()) != said(prompt, ("No technique",))


pieces = st.sampled_from(["x", "y", "x, z", "z", ",", ", ", " ", "\n", "No technique", "é", "X", "."])
noise = st.lists(pieces, max_size=8).map("".join)


@settings(max_examples=500)
@given(noise | st.text(max_size=30))
@example("")
@example("x, ")
@example("x,, y")
@example("x, x")
@example("No technique, No technique")
@example("No technique, x")
@example("x y")
def test_ok_exactly_for_valid_answers(text: str) -> None:
    """By enumeration: any order and any white space around commas is fine, nothing else is."""
    labels = ("x", "y", "x, z")
    valid = {"No technique": frozenset[str]()}
    for count in (1, 2, 3):
        valid |= {",".join(p).replace(", ", ","): frozenset(p) for p in itertools.permutations(labels, count)}
    plain = re.sub(r"\s*,\s*", ",", text.strip())
    parsed = ReportPrompt(TargetSpace("label_set", tuple(labels))).parse(text)
    assert parsed.ok == (plain in valid)
    if parsed.ok:
        assert frozenset(parsed.labels) == valid[plain]
    assert [label for label in labels if label in parsed.labels] == list(parsed.labels)


@given(st.text(), sets_of_techniques)
def test_parse_never_raises_and_never_invents(text: str, chosen: set[str]) -> None:
    prompt = ReportPrompt(TargetSpace("label_set", tuple(TECHNIQUES)))
    for completion in (text, text + ", ".join(chosen), ", ".join(chosen) + text, text.join(chosen)):
        parsed = prompt.parse(completion)
        assert all(label in completion for label in parsed.labels)
        assert list(parsed.labels) == [label for label in TECHNIQUES if label in parsed.labels]


@pytest.mark.parametrize(
    ("completion", "labels"),
    [
        ("Smears, nonsense, Doubt", {"Smears", "Doubt"}),
        ("Obfuscation, Doubt", {"Doubt"}),
        ("Smears, Smears", {"Smears"}),
        ("Smears, ", {"Smears"}),
        ("No technique, Doubt", {"Doubt"}),
        ("Smears <tech:> Doubt, Slogans", {"Slogans"}),
        ("smears", set()),
        ("   ", set()),
    ],
)
def test_what_can_be_read_is_kept_of_a_bad_answer(techniques: ReportPrompt, completion: str, labels: set[str]) -> None:
    parsed = techniques.parse(completion)
    assert not parsed.ok
    assert set(parsed.labels) == labels


def test_one_label_means_exactly_one() -> None:
    prompt = ReportPrompt(TargetSpace("single_label", ("x", "y")))
    assert prompt.parse(" x").ok
    for bad in ("x, y", "No technique", "", "z", "x, x"):
        assert not prompt.parse(bad).ok


@given(sets_of_techniques)
def test_grammar_describes_what_is_written(chosen: set[str]) -> None:
    prompt = ReportPrompt(TargetSpace("label_set", tuple(TECHNIQUES)))
    grammar = prompt.grammar()
    listed = grammar.separator.join(item for item in grammar.items if item in chosen)
    assert said(prompt, tuple(chosen)) == grammar.start + (listed or grammar.none)
    assert grammar.single is False
