"""The set of a table's labels: named by the user, or those that its texts have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from semtune.errors import DataError, OptionError
from semtune.records import Example, TargetKind, label_target
from semtune.tasks.characters import is_blank
from semtune.tasks.remarks import shown


def check_label_set(labels: tuple[str, ...]) -> None:
    """Raises OptionError for names that --labels cannot have."""
    if not labels or any(is_blank(label) or label != label.strip() for label in labels):
        raise OptionError("--labels must name at least one label, none of them blank or edged by spaces.")
    if labels[0].startswith("[") and "]" not in labels[0] and labels[-1].endswith("]") and "[" not in labels[-1]:
        raise OptionError(
            f"--labels names {shown(labels[0])} and {shown(labels[-1])}, the ends of a list; write it as a JSON list "
            'of texts (["a", "b"]), or without brackets (a,b).'
        )
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise OptionError(f'--labels names "{twice}" twice; name each label once.')


def absent_label_notes(labels: Sequence[str], splits: Mapping[str, Sequence[Example]]) -> list[str]:
    """A note on named labels that no text has."""
    seen = {label for examples in splits.values() for e in examples for label in e.labels or ()}
    absent = [shown(label) for label in labels if label not in seen]
    return [f"no text has {'the label' if len(absent) == 1 else 'the labels'} {', '.join(absent)}"] if absent else []


def labels_in(
    splits: Mapping[str, Sequence[Example]], source: str, label_column: str, kind: TargetKind
) -> tuple[str, ...]:
    """The labels that texts have, sorted. Raises DataError where they are too few to learn."""
    labels = sorted({label for examples in splits.values() for e in examples for label in e.labels or ()})
    if len(labels) < (2 if kind == "single_label" else 1):
        found = f'only the label "{labels[0]}"' if labels else "no label at all"
        raise DataError(
            f'{source} has {found} in column "{label_column}", so there is nothing to learn; '
            "check --label-column, or name all labels with --labels."
        )
    return tuple(labels)


def in_label_order(example: Example, labels: Sequence[str], kind: TargetKind) -> Example:
    """`example` with its labels in the order of the label set."""
    if example.labels is None:
        return example
    given = set(example.labels)
    in_order = tuple(label for label in labels if label in given)
    return dataclasses.replace(example, target=label_target(kind, in_order))
