"""The report says by which convention a metric was computed, and which rows used another one."""

from __future__ import annotations

from typing import Any

from semtune.records import to_plain
from semtune.report.tables import quality_table
from semtune.report.view import view_of
from semtune.tasks.scoring import SCIKIT_LEARN, SHARED_TASK

from .conftest import run, scores, study

OLD_RULE = "counts as 1"


def new_scores(micro: float, convention: Any = SCIKIT_LEARN) -> dict[str, Any]:
    """One split's scores as they are written today."""
    definitions = {m.name: m.definition for m in convention.metrics if m.definition}
    return {"primary": "micro_f1", **scores(micro), "definitions": definitions}


def notes_of(record: dict[str, Any], row: int | None = None) -> list[str]:
    """The footnotes of the macro-F1 column, or of a row's name."""
    table = quality_table(view_of(record))
    if row is not None:
        return [table.footnotes[mark - 1] for mark in table.rows[row].cells[0].marks]
    (column,) = [c for c in table.columns if c.title == "Test macro-F1"]
    return [table.footnotes[mark - 1] for mark in column.marks]


def test_the_column_says_how_the_mean_is_taken() -> None:
    runs = [run("lora", scores={"test": new_scores(0.6)})]
    own = study(runs, metrics=to_plain(SCIKIT_LEARN.metrics), baselines=[])
    assert any("scikit-learn" in note and OLD_RULE not in note for note in notes_of(own))
    shared = study(runs, metrics=to_plain(SHARED_TASK.metrics), baselines=[])
    assert any(OLD_RULE in note for note in notes_of(shared))


def test_a_study_of_an_earlier_version_has_the_earlier_rule() -> None:
    assert any(OLD_RULE in note for note in notes_of(study([run("lora")])))
    earlier = [{"name": "micro_f1", "title": "micro-F1"}, {"name": "macro_f1", "title": "macro-F1"}]
    record = study([run("lora")], metrics=earlier)
    assert any(OLD_RULE in note for note in notes_of(record))
    assert not any(OLD_RULE in note for note in notes_of(record, row=0)), "a row like its column needs no remark"


def test_rows_kept_from_an_earlier_version_are_marked() -> None:
    bases = [{"name": "top-3", "scores": {"test": scores(0.4)}, "note": None}]
    runs = [run("lora"), run("full", scores={"test": new_scores(0.6)})]
    record = study(runs, metrics=to_plain(SCIKIT_LEARN.metrics), baselines=bases)
    for row, marked in ((0, True), (1, False), (2, True)):
        assert any("does not compare" in note for note in notes_of(record, row)) == marked
