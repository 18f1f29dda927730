"""One class written in two ways is noted; labels that are like each other and honest are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.tasks.class_spellings import GROUPS_SHOWN, spelling_notes

from .tables import HEADER, ROWS, joined, notes, save


def said(*labels: str) -> str:
    return " ".join(spelling_notes(dict.fromkeys(labels, 3)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bad", "bad."),
        ("bad", "'bad'"),
        ("bad", "“bad”"),
        ("bad", "<b>bad</b>"),
        ("very bad", "<p>very bad</p>"),
        ("bad", "(bad)"),
        ("bad", "*bad*"),
        ("Bad", "bad!"),
        ("taste", "#Taste"),
        ("very bad", "very_bad"),
        ("very bad", "very-bad"),
        ("very_bad", "VeryBad"),
        ("level 1", "level_1"),
        ("USA", "U.S.A."),
        ("négatif", "negatif"),
        ("Łódź", "lodz"),
        ("böse", "boese"),
        ("Tromsø", "tromso"),
        ("positive", "p\u043esitive"),
        ("Don't know", "Don’t know"),
        ("dont know", "Don't know"),
        ("18-25", "18–25"),
        ("18-25", "18 – 25"),
        ("POZİTİF", "pozitif"),
        ("KIZGIN", "kızgın"),
        ("ΘΕΤΙΚΟ", "ΘΕΤΙΚΌ"),
        ("ΘΕΤΙΚΟ", "θετικό"),
        ("منفی", "منفي"),
        ("إيجابي", "ايجابي"),
        ("سَلبي", "سلبي"),
        ("учёба", "Учеба."),
        ("НЕТ", "Нет."),
        ("1", "1: good"),
        ("good", "1: good"),
        ("1", "1 - good"),
        ("2", "2) bad"),
        ("-1", "-1 = bad"),
        ("B", "B. sport"),
        ("12345", "12345 - Billing"),
        ("P1", "P1 - critical"),
        ("Agree", "Agree (1)"),
        ("1", "Agree (1)"),
        ("1", "1 (bad)"),
        ("High", "High (P1)"),
        ("1 - Agree", "1. Agree"),
        ("1) Yes", "1. Yes"),
        ("2 = good", "2: good"),
        ("1: Agree", "Agree (1)"),
        ("1. price", "2. price"),
        ("TRUE", "1"),
        ("yes", "true"),
        ("FAUX", "false"),
    ],
)
def test_a_class_in_two_spellings_is_noted(one: str, other: str) -> None:
    rest = "FALSE" if other in ("1", "true", "false") else "neutral"
    found = said(one, other, rest)
    assert "may be one class in two spellings" in found and f'"{one}" (3)' in found
    if other.isascii():
        assert f'"{other}" (3)' in found
    assert "\\u043e" in found or "\u043e" not in other


@pytest.mark.parametrize(
    "labels",
    [
        ("good", "bad", "neutral"),
        ("Type (1)", "Type (2)"),
        ("1: one", "2: two", "one (2)"),
        ("a1: taste", "a2: taste"),
        ("C", "C++", "C#"),
        ("A", "A+", "A-", "B"),
        ("1", "-1", "0"),
        ("1", "10", "100"),
        ("1.5", "15"),
        ("1-2", "12", "3-4"),
        ("1/2", "12"),
        (">5", "<5"),
        ("*", "**", "***"),
        ("?", "!"),
        ("か", "が"),
        ("กา", "ก่า"),
        ("мой", "мои"),
        ("yes", "no", "1 or 2"),
        ("true", "false"),
        ("y", "n"),
        ("0", "1", "2", "yes"),
        ("food: soup", "food: bread", "food"),
        ("1: good", "2: bad"),
        ("\U0001f600", "\U0001f622"),
        ("Good", "good"),  # label_names says it
        ("1", "1.0"),  # review says it
    ],
)
def test_honest_labels_are_not(labels: tuple[str, ...]) -> None:
    assert said(*labels) == ""


def test_many_groups_are_counted() -> None:
    names = [form for i in range(GROUPS_SHOWN + 2) for form in (f"label{chr(97 + i)}", f"label{chr(97 + i)}.")]
    assert "and 2 more such groups" in said(*names)


def test_tables_say_it_unless_the_labels_are_named(tmp_path: Path) -> None:
    rows = [(text, f"{label}." if i % 5 == 0 else label) for i, (text, label) in enumerate(ROWS)]
    file = save(tmp_path / "t.csv", joined([HEADER, *rows], ","))
    assert '"sunny" (6) and "sunny." (2)' in notes(file)
    assert "two spellings" not in notes(file, labels=tuple(sorted({label for _, label in rows})))
