"""What a user should know of the labels and texts of their tables before anything is learnt from them.

Labels that occur in the test split alone are no classes: nothing could learn them. Where they are a placeholder of
hidden labels, their texts become unlabelled; otherwise the tables are refused with the option that makes them classes.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from semtune.errors import DataError
from semtune.records import Example, TargetKind
from semtune.tasks.class_spellings import other_spellings, spelling_notes
from semtune.tasks.cut_texts import cut_notes
from semtune.tasks.label_names import difference
from semtune.tasks.label_notations import is_quoted, notation_notes
from semtune.tasks.missing_marks import is_missing_word, is_placeholder
from semtune.tasks.number_forms import numbers_in
from semtune.tasks.remarks import shown
from semtune.tasks.splits import contradictions
from semtune.tasks.spreadsheet_labels import spreadsheet_notes

NAMES_SHOWN = 5
"""Number of labels or rows that a note lists."""
_MANY_TEXTS = 5
"""Texts of a usual label, from which on a label of one text is remarked."""
_QUOTED_SHARE = 0.75
"""Share of texts in quotes from which on that is remarked."""
_BY_CHANCE = 0.01
"""Probability below which a split of one class is no chance."""
_CURRENCIES = "$€£¥₹₽₩₺ "
Splits = Mapping[str, Sequence[Example]]


def with_hidden_labels(splits: Splits) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    """`splits`, in which test texts whose label is only a placeholder are unlabelled, and notes on that.

    Raises DataError: other labels occur in the test split alone, or dev has placeholders.
    """
    test = splits.get("test", ())
    _check_dev(splits)
    learnt = {label for split, examples in splits.items() if split != "test" for e in examples for label in _labels(e)}
    alone = Counter(label for e in test for label in _labels(e) if label not in learnt)
    # Some words stand for hidden labels only where no test text has a label.
    whole = all(label in alone for e in test for label in _labels(e))
    hides = is_placeholder if whole else is_missing_word
    alike = other_spellings(alone, sorted(learnt))
    strange = [label for label in alone if label in alike or not hides(label)]
    if strange:
        texts = [e for e in test if not set(strange).isdisjoint(_labels(e))]
        raise DataError(_strange_labels(strange, texts, alike))
    if not alone:
        return with_empty_test_hidden(splits)
    _check_dev_has_labels(splits)
    hidden = sum(any(label in alone for label in _labels(e)) for e in test)
    unlabelled = [dataclasses.replace(e, target=None) if alone.keys() & set(_labels(e)) else e for e in test]
    note = (
        f"{hidden} of {len(test)} test texts have {_named(list(alone))}, which no other text has: taken as a "
        "placeholder of hidden labels, not as a class, so the test split is predicted and not scored"
    )
    return {**{split: list(examples) for split, examples in splits.items()}, "test": unlabelled}, (note,)


def _strange_labels(strange: Sequence[str], texts: Sequence[Example], alike: Mapping[str, str]) -> str:
    """What a user should do about labels of the test split alone, which `texts` have.

    alike: label → train's or dev's, of those that are another spelling of one.
    """
    said = (
        f"The test split has {_named(strange)} ({_count(len(texts), 'text')}, first: id {shown(texts[0].id)}), which "
    )
    it = "it" if len(strange) == 1 else "them"
    if not alike:
        return (
            f"{said}no text of train and dev has, so nothing could learn {it}; correct {it}, remove these texts, or "
            "name all labels with --labels."
        )
    pairs = [
        f"{shown(label)} and {shown(alike[label])} differ only in {difference([label, alike[label]])}"
        for label in [label for label in strange if label in alike][:NAMES_SHOWN]
    ]
    rest = "" if len(alike) == len(strange) else ", and correct the other labels or remove their texts"
    return f"{said}train and dev do not have: {', '.join(pairs)}; spell them alike in all splits{rest}."


def _check_dev(splits: Splits) -> None:
    """Raises DataError where dev has placeholders instead of labels: it could not choose the epoch."""
    trained = {label for e in splits["train"] for label in _labels(e)}
    dev = splits.get("dev", ())
    hidden = [label for e in dev for label in _labels(e) if label not in trained and is_missing_word(label)]
    if hidden:
        raise DataError(
            f"The dev split has the label {shown(hidden[0])} ({_count(len(hidden), 'text')}), which no train text has. "
            "It looks like a placeholder of hidden labels, and dev needs labels to choose the epoch; leave this split "
            "out (one is then made of train), or name all labels with --labels."
        )


def _check_dev_has_labels(splits: Splits) -> None:
    dev = splits.get("dev", ())
    if dev and all(e.labels == () for e in dev) and any(_labels(e) for e in splits["train"]):
        raise DataError(
            f"None of the {len(dev)} dev texts has a label, and dev needs some to choose the epoch and the threshold; "
            "leave this split out (one is then made of train), or fill its labels in."
        )


def with_empty_test_hidden(splits: Splits) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    """`splits`, in which test is unlabelled where none of its texts has a label although others have.

    Raises DataError where dev is so: it could not choose the epoch.
    """
    _check_dev_has_labels(splits)
    held = {split: list(examples) for split, examples in splits.items()}
    test = held.get("test", [])
    if any(e.labels != () for e in test) or not test or not any(_labels(e) for e in held["train"]):
        return held, ()
    held["test"] = [dataclasses.replace(e, target=None) for e in test]
    note = f"none of the {len(test)} test texts has a label: taken as hidden labels, so that test is not scored"
    return held, (note,)


def label_notes(splits: Splits, kind: TargetKind, *, named: bool, listed: bool = False) -> tuple[str, ...]:
    """Notes on labels that may not mean what they say, and on quotes around texts.

    Args:
        splits: all splits, before any is made from another.
        named: whether the user named the label set, and so meant each of its labels.
        listed: whether label cells are lists.
    """
    examples = [e for held in splits.values() for e in held]
    counts = Counter(label for e in examples for label in _labels(e))
    notes = (
        [*_missing_words(counts), *_equal_numbers(counts), *notation_notes(counts, listed=listed)] if not named else []
    )
    notes += spreadsheet_notes(counts) if not named else ()
    notes += spelling_notes(counts) if not named else ()
    if kind == "single_label" and len(counts) > max(20, len(examples) / 2):
        notes.append(f"{len(counts)} labels for {len(examples)} texts: is --label-column the right column?")
    if kind == "label_set" and len(examples) > _MANY_TEXTS and all(len(_labels(e)) == 1 for e in examples):
        how = "in a list" if listed else "under --label-separator"
        notes.append(f"every text has exactly one label, {how}: scored as sets of labels, not as one label a text")
    if not named:
        notes += _single_rows(counts)
    notes += _quoted_texts(examples)
    notes += cut_notes(e.text for e in examples)
    return (*notes, *_dev_alone(splits), *_one_answer(splits), *_contradicting(examples, kind))


def _quoted_texts(examples: Sequence[Example]) -> list[str]:
    """Quotes around most texts, as a program that another one's files were read with wrote them."""
    quoted = [e for e in examples if is_quoted(e.text.strip())]
    if len(examples) < _MANY_TEXTS or len(quoted) < _QUOTED_SHARE * len(examples):
        return []
    return [
        f"{len(quoted):,} of {len(examples):,} texts are in quotes (first: id {shown(quoted[0].id)}, "
        f"{shown(quoted[0].text)}), which were taken as a part of them; remove them in the file if they are not meant"
    ]


def _single_rows(counts: Mapping[str, int]) -> list[str]:
    """Labels of one text among labels of many: a row of totals, a typing error."""
    alone = [label for label, count in counts.items() if count == 1]
    if not alone or len(alone) > len(counts) / 2 or statistics.median(counts.values()) < _MANY_TEXTS:
        return []
    have = "has one text" if len(alone) == 1 else "have one text each"
    return [f"{_named(alone)} {have}: hardly to be learnt, or a row that is no text (a total, a second header)"]


def _missing_words(counts: Mapping[str, int]) -> list[str]:
    return [
        f"the label {shown(label)} ({_count(count, 'text')}) is read as a label like any other; if it stands for "
        "a missing one, remove these rows"
        for label, count in counts.items()
        if is_placeholder(label)
    ]


def _equal_numbers(counts: Mapping[str, int]) -> list[str]:
    """Labels such as "1" and "1.0", "2,5" and "2,50", or "$1,000" and "$1000", which are one number and two labels."""
    by_value: dict[tuple[Decimal, str], list[str]] = defaultdict(list)
    for label in counts:
        number = label.strip(_CURRENCIES)
        currency = label.replace(number, "", 1).strip() if number else ""
        for value in numbers_in(number):
            by_value[value, currency].append(label)
    groups = dict.fromkeys(tuple(labels) for labels in by_value.values() if len(labels) > 1)
    return [f"the labels {_list(labels)} are the same number and yet different labels" for labels in groups]


def _dev_alone(splits: Splits) -> list[str]:
    if "dev" not in splits:
        return []
    learnt = {label for e in splits["train"] for label in _labels(e)}
    alone = Counter(label for e in splits["dev"] for label in _labels(e) if label not in learnt)
    if not alone:
        return []
    one = len(alone) == 1
    return [
        f"{_named(list(alone))} {'occurs' if one else 'occur'} in dev but not in train ({sum(alone.values())} times): "
        f"nothing can learn {'it' if one else 'them'}"
    ]


def _one_answer(splits: Splits) -> list[str]:
    """Dev or test texts that all have the same labels, which they would hardly have by chance: a sample submission."""
    notes = []
    train = [set(_labels(e)) for e in splits["train"]]
    for split in ("dev", "test"):
        held = splits.get(split, ())
        answers = {frozenset(_labels(e)) for e in held if e.labels is not None}
        if len(answers) == 1 and all(e.labels is not None for e in held):
            (answer,) = answers
            share = train.count(set(answer)) / len(train)
            if share ** len(held) < _BY_CHANCE and answer:
                what = _named(sorted(answer))
                notes.append(
                    f"all {len(held):,} {split} texts have {what}, which {100 * share:.0f}% of the train texts "
                    f"have: check that they are {split}'s own, not a placeholder of hidden ones (a sample submission)"
                )
    return notes


def _contradicting(examples: Sequence[Example], kind: TargetKind) -> list[str]:
    found = contradictions(examples)
    if not found:
        return []
    rows = sum(len(group) for group in found)
    one, other = found[0][0], next(e for e in found[0] if set(_labels(e)) != set(_labels(found[0][0])))
    what = "labels" if kind == "single_label" else "sets of labels"
    return [
        f"{_count(len(found), 'text')} with different {what} ({rows} rows; first: {shown(one.text)} is "
        f"{_list(_labels(one))} in id {shown(one.id)} and {_list(_labels(other))} in id {shown(other.id)}): each row "
        "counts as an example of its own"
    ]


def _labels(example: Example) -> tuple[str, ...]:
    return example.labels or ()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _named(labels: Sequence[str]) -> str:
    return f"the label {shown(labels[0])}" if len(labels) == 1 else f"the labels {_list(labels)}"


def _list(labels: Sequence[str], show: Callable[[str], str] = shown) -> str:
    more = f" and {len(labels) - NAMES_SHOWN} more" if len(labels) > NAMES_SHOWN else ""
    return (", ".join(show(label) for label in labels[:NAMES_SHOWN]) or "no label") + more
