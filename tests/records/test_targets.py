"""Typed targets: what each is, and how labels are decided from probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from semtune.records import (
    Example,
    FreeText,
    LabelSet,
    SingleLabel,
    Spans,
    TargetSpace,
    label_target,
)
from semtune.records.targets import predictions_from

EXAMPLES = [Example("1", "a", None), Example("2", "b", None)]
PROBABILITIES = np.array([[0.2, 0.5, 0.5], [0.1, 0.3, 0.05]])
LABELS = ("x", "y", "z")


def test_labels_of_an_example() -> None:
    assert Example("1", "t", None).labels is None
    assert Example("1", "t", LabelSet(())).labels == ()
    assert Example("1", "t", SingleLabel("x")).labels == ("x",)


def test_label_targets() -> None:
    assert label_target("label_set", ["x"]) == LabelSet(("x",))
    assert label_target("single_label", ["x"]) == SingleLabel("x")
    assert label_target("single_label", ["x", "y"]) == LabelSet(("x", "y")), "no single label: scored as wrong"
    with pytest.raises(ValueError, match="are not labels"):
        label_target("spans", ["x"])


def test_empty_targets() -> None:
    kinds = ("label_set", "single_label", "spans", "text")
    found = [TargetSpace(kind, ()).empty() for kind in kinds]
    assert found == [LabelSet(()), LabelSet(()), Spans(()), FreeText("")]


def test_deciding_by_a_threshold() -> None:
    found = predictions_from(EXAMPLES, PROBABILITIES, TargetSpace("label_set", LABELS), 0.5)
    assert [p.output for p in found] == [LabelSet(("y", "z")), LabelSet(())]
    assert found[0].probabilities == {"x": 0.2, "y": 0.5, "z": 0.5}


def test_deciding_for_the_most_probable_label() -> None:
    found = predictions_from(EXAMPLES, PROBABILITIES / 3, TargetSpace("single_label", LABELS), 0.5, digits=2)
    assert [p.output for p in found] == [SingleLabel("y"), SingleLabel("y")], "the first of equals"
    assert found[0].probabilities == {"x": 0.07, "y": 0.17, "z": 0.17}
