"""A combination that cannot be is refused before anything runs, with what would work."""

from __future__ import annotations

import pytest

from semtune.errors import OptionError
from semtune.records import RunSpec, TargetSpace
from semtune.registry import READOUTS
from semtune.specs import resolve
from semtune.specs.serves import check_combination, check_serves, check_trains


def test_what_serves_passes() -> None:
    for kind in ("label_set", "single_label"):
        for readout in (*READOUTS, "label-scores", "generate-trie"):
            check_combination("report", readout, TargetSpace(kind, ("a", "b")))


@pytest.mark.parametrize(
    ("kind", "what", "name", "serves", "message"),
    [
        ("spans", "readout", "head", {"label_set", "single_label"},
         'The readout "head" is for tasks of sets of labels or one label a text, but this task has labelled spans; '
         "choose generate."),
        ("text", "prompt", "report", {"label_set"},
         'The prompt "report" is for tasks of sets of labels, but this task has free texts; '
         "no prompt that is registered serves them."),
        ("single_label", "baseline", "top-2", {"label_set"},
         'The baseline "top-2" is for tasks of sets of labels, but this task has one label a text; '
         "choose random or top-1 or tfidf."),
    ],
)  # fmt: skip
def test_what_does_not_serve_is_refused(kind: str, what: str, name: str, serves: set[str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_serves(kind, what, name, serves)
    assert str(caught.value) == message


def test_a_readout_that_needs_a_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semtune.prompts.report.ReportPrompt.grammar", lambda self: None)
    space = TargetSpace("label_set", ("a", "b"))
    check_combination("report", "generate", space)
    with pytest.raises(
        OptionError, match=r"needs a prompt with a grammar, .* choose generate or loglikelihood or head"
    ):
        check_combination("report", "generate-constrained", space)


def test_a_method_that_trains_the_readout_alone_needs_one_with_parameters() -> None:
    check_trains("linear-probe", "head")
    check_trains("lora", "generate")
    for readout in READOUTS:
        if readout != "head":
            with pytest.raises(OptionError, match=r"has nothing to train; give --readout head, or another --method\.$"):
                resolve(RunSpec("practice", method="linear-probe", readout=readout))
