"""Labels that look alike are found whatever they differ in, and named so that the difference can be seen."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semtune.tasks.label_names import GROUPS_SHOWN, difference, label_notes, near_equal, shown


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("Sport", "sport", "case"),
        ("STRASSE", "straße", "case"),
        ("New York", "New  York", "white space"),
        ("New York", "New\u00a0York", "white space"),
        ("New York", "NewYork", "white space"),
        ("good", "go\u200bod", "invisible characters"),
        ("good", "good\ufe0f", "invisible characters"),
        ("good", "\ufeffgood", "invisible characters"),
        ("good", "go\u00adod", "invisible characters"),
        ("good", "g\u0007ood", "invisible characters"),
        ("café", "cafe\u0301", "normal form"),
        ("fish", "\ufb01sh", "normal form"),
        ("Ａ", "A", "normal form"),
        ("Café", "cafe\u0301", "normal form and case"),
        ("A b", "ab\u200b", "white space and invisible characters and case"),
    ],
)
def test_near_equal_labels_are_found_and_told_apart(one: str, other: str, kind: str) -> None:
    assert near_equal(["x", one, "y", other]) == [(one, other)]
    assert difference([one, other]) == kind
    (note,) = label_notes([one, other, "x"])
    first, second = shown(one, [other]), shown(other, [one])
    assert first != second and first in note and second in note and kind in note
    if kind not in ("case", "white space"):
        assert (first + second).isascii(), "what cannot be seen is escaped"
    assert (first + second).isprintable()


@pytest.mark.parametrize("labels", [("a", "b"), ("cafe", "café"), ("1", "2"), ("resume", "résumé"), ("a.b", "ab")])
def test_labels_that_differ_visibly_are_not(labels: tuple[str, ...]) -> None:
    assert near_equal(labels) == [] and label_notes(labels) == ()
    assert difference(labels) == "spelling"


@given(st.text(min_size=1, max_size=8))
def test_every_form_of_a_label_is_near_equal_to_it(label: str) -> None:
    forms = dict.fromkeys(
        [label, label.casefold(), f" {label}\u200b", *(unicodedata.normalize(f, label) for f in ("NFC", "NFD", "NFKD"))]
    )
    assert near_equal(list(forms)) == ([tuple(forms)] if len(forms) > 1 else [])


def test_many_groups_are_counted() -> None:
    labels = [form for i in range(GROUPS_SHOWN + 3) for form in (f"label {i}", f"LABEL {i}")]
    (note,) = label_notes(labels)
    assert "and 3 more such groups" in note and '"LABEL 4"' in note and "LABEL 5" not in note
