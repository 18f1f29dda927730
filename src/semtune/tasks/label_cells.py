"""The label column of a user's tables: one label or a set of labels a text, in the forms in which people write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from semtune.errors import DataError
from semtune.records import Target, TargetKind, label_target
from semtune.tasks.cells import (
    is_nested,
    is_written_object,
    label_text,
    looks_like_list,
    no_label,
    written_list,
)
from semtune.tasks.characters import is_blank
from semtune.tasks.garbled import entity_in, remark_garbled
from semtune.tasks.label_names import unknown_name
from semtune.tasks.label_notations import check_no_indicators, split_labels
from semtune.tasks.missing_marks import is_placeholder, missing_mark
from semtune.tasks.remarks import Remarks, shown

Cells = Mapping[str, Sequence[tuple[str, Any]]]
"""The label cells of each table by its source: (location, cell)."""


class LabelCells:
    """Reads label cells; what a cell means depends on those of all tables together."""

    def __init__(self, column: str, separator: str | None, known: Sequence[str] | None, cells: Cells) -> None:
        """
        Args:
            column: the label column's name, for messages.
            separator: what separates labels within a cell; None: nothing does.
            known: the label set, if the user named it.
            cells: all label cells.

        Raises:
            DataError: some cells are lists written out as text and others are not, or such a list cannot be read,
                or lists hold a number for each label.
        """
        self.column, self.separator, self.known = column, separator, known
        self.written = self._are_written_lists(cells)
        kinds = {isinstance(cell, list) for rows in cells.values() for _, cell in rows if cell is not None}
        self.listed = self.written or True in kinds
        """Whether label cells are lists."""
        several = separator is not None or self.listed
        self.notes = self._unused_separator(cells, kinds)
        """What a user should know of the cells of all tables together."""
        self.kind: TargetKind = "label_set" if several else "single_label"
        check_no_indicators(self._lists(cells))

    def target(self, cell: Any, where: str, remarks: Remarks, *, may_hide: bool = False) -> Target | None:
        """The label or labels in a cell; None where the cell of a single-label table is empty. Raises DataError.

        may_hide: whether a placeholder may stand for labels that are hidden; it is None then, if the user named the
            label set without it.
        """
        items: list[Any]
        is_list = isinstance(cell, list)
        if is_nested(cell):
            raise no_label(cell, where, remarks)
        if is_list:
            items = cell
        elif self.written and (found := written_list(cell)) is not None:
            remarks.row("a list written out in a label cell was read as its labels", where)
            items, is_list = found, True
        elif is_written_object(cell):
            advice = "give each label as text"
            if '"ImportId"' in cell:
                advice = "remove this row and the one above it, which Qualtrics writes below its header"
            raise DataError(f"{remarks.source}, {where} has the label {shown(cell)}, which is an object; {advice}.")
        elif isinstance(cell, str) and self.separator is not None:
            self._check_whole_entities(cell, where, remarks)
            items = split_labels(cell, self.separator, where, remarks)
        else:
            items = [cell]
        if self.separator is None and any(isinstance(i, str) and not is_blank(i) and i != i.strip() for i in items):
            remarks.row("white space around a label was left out", where)
        labels = [text for item in items if (text := label_text(item, self.column, where, remarks)) is not None]
        remark_garbled(labels, "label", where, remarks)
        if is_list and len(labels) < len(items):
            remarks.row("an empty item of a label list was left out", where)
        if len(set(labels)) < len(labels):
            advice = "if a cell has the answers of several annotators, write the one that counts"
            remarks.row("a label that is named twice in one cell counts once", where, advice=advice)
        if isinstance(items, list) and not items and self.kind == "label_set":
            remarks.row("an empty list of labels was read as a text without labels", where)
        if cell is None and self.kind == "label_set":
            remarks.row("a missing label cell was read as a text without labels", where)
        elif isinstance(cell, str) and is_blank(cell) and self.kind == "label_set":
            remarks.row("an empty label cell was read as a text without labels", where)
        unknown = [label for label in labels if self.known is not None and label not in self.known]
        if may_hide and unknown and all(is_placeholder(label) for label in labels):
            remarks.row(f"{shown(unknown[0])} was taken as a placeholder of hidden labels", where)
            return None
        if unknown:
            raise DataError(
                f"{remarks.source}, {where} has the unknown label {shown(unknown[0])}; "
                f"{unknown_name(unknown[0], self.known or ())}"
            )
        self._check_not_missing(labels if not may_hide else (), where, remarks)
        return label_target(self.kind, tuple(dict.fromkeys(labels))) if labels or self.kind == "label_set" else None

    def _check_not_missing(self, labels: Sequence[str], where: str, remarks: Remarks) -> None:
        """Raises DataError for a mark of a missing value that the user has not named as a label."""
        for label in labels if self.known is None else ():
            writers = missing_mark(label)
            if writers is not None:
                empty = ", or empty the cell if the text has no label" if self.kind == "label_set" else ""
                raise DataError(
                    f"{remarks.source}, {where} has the label {shown(label)}, with which {writers} mark a missing "
                    f"value; remove the row{empty}, or name all labels with --labels if it is one."
                )

    def _check_whole_entities(self, cell: str, where: str, remarks: Remarks) -> None:
        """Raises DataError where the separator is a part of an HTML entity in the cell."""
        entity = entity_in(cell)
        if entity is not None and self.separator is not None and self.separator in entity:
            raise DataError(
                f"{remarks.source}, {where} has the HTML entity {shown(entity)} in its label cell, which the "
                f"--label-separator {shown(self.separator)} would cut in two; unescape the file first (in Python: "
                "html.unescape)."
            )

    def _lists(self, cells: Cells) -> Iterator[tuple[str, Sequence[Any]]]:
        """(location, items) of each label cell that holds several labels in its form."""
        for source, rows in cells.items():
            for where, cell in rows:
                items: Sequence[Any] | None = cell if isinstance(cell, list) else None
                if self.written:
                    items = written_list(cell)
                elif isinstance(cell, str) and not is_blank(cell) and self.separator is not None:
                    items = cell.split(self.separator)
                if items is not None:
                    yield f"{source}, {where}", items

    def _unused_separator(self, cells: Cells, kinds: set[bool]) -> tuple[str, ...]:
        mark = self.separator
        if mark is not None and (self.written or kinds == {True}):
            return (f"the label cells are lists, on which --label-separator {shown(mark)} has no effect",)
        if mark is None or any(mark in str(cell) for rows in cells.values() for _, cell in rows):
            return ()
        return (f"no label cell holds the --label-separator {shown(mark)}: every text has one label at most",)

    def _are_written_lists(self, cells: Cells) -> bool:
        """Whether every label cell that is not empty is a list written out as text. Raises DataError."""
        listed: tuple[str, str] | None = None
        other: tuple[str, str] | None = None
        for source, rows in cells.items():
            for where, cell in rows:
                if not isinstance(cell, str) or is_blank(cell):
                    continue
                if self.known is not None and cell.strip() in self.known:  # a label as the user wrote it
                    other = other or (f"{source}, {where}", cell)
                elif written_list(cell) is not None:
                    listed = listed or (f"{source}, {where}", cell)
                elif looks_like_list(cell):
                    raise DataError(
                        f"{source}, {where} has the label {shown(cell)}, which looks like a list but is none; write "
                        'it as JSON (["a", "b"]), or separate the labels and name what does with --label-separator.'
                    )
                else:
                    other = other or (f"{source}, {where}", cell)
        if listed is not None and other is not None and looks_like_list(listed[1]):
            raise DataError(
                f"{listed[0]} has a list in its label cell ({shown(listed[1])}), but {other[0]} has {shown(other[1])}; "
                "write all label cells in one form."
            )
        return listed is not None and other is None
