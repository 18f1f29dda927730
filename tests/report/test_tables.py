"""What the tables say, cell by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from semtune.report.assemble import ONE_SEED, RANDOM_WEIGHTS
from semtune.report.detail_tables import label_table, runs_table
from semtune.report.summary import summary
from semtune.report.table import Row, Table, decimals, figure_cells
from semtune.report.tables import all_tables
from semtune.report.view import statistic, view_of

from .conftest import lost, run, scores, study, unlabelled


def row_of(table: Table, name: str) -> Row:
    return next(row for row in table.rows if row.cells[0].text == name)


def texts(table: Table, name: str) -> list[str]:
    return [cell.plain for cell in row_of(table, name).cells]


def titles(table: Table) -> list[str]:
    return [column.title for column in table.columns]


def cell(table: Table, name: str, title: str) -> Any:
    return row_of(table, name).cells[titles(table).index(title)]


def test_thousands_have_no_decimals_beside_small_figures() -> None:
    cells = figure_cells([statistic([0.549]), statistic([2109.504]), None, statistic([24.24])])
    assert [cell.plain for cell in cells] == ["0.549", "2,110", "–", "24.240"]


def test_speed_cells(mixed: dict[str, Any]) -> None:
    speed = all_tables(mixed)[0]
    assert titles(speed) == ["Method", "Per iteration", "Per epoch", "Training", "Training speed", "Predicting"]
    assert texts(speed, "lora") == ["lora", "0.518", "23.7", "48.0", "580", "22.7"]
    assert texts(speed, "qlora") == ["qlora", "1.250", "23.7", "48.0", "300", "22.7"]
    assert speed.caption == "task practice · readout head · model default · prompt report · preset default"


def test_quality_cells(mixed: dict[str, Any]) -> None:
    quality = all_tables(mixed)[1]
    assert texts(quality, "lora") == ["lora", "4.88", "3.50", "0.71", "2.75", "1.77", "0.652", "0.300", "0.686"]
    assert texts(quality, "qlora") == ["qlora", "4.88", "3.50", "1.00", "3.00", "2.00", "0.601", "0.300", "0.700"]
    assert texts(quality, "top-3") == ["top-3", "", "", "", "", "", "0.440", "0.300", "0.450"]
    assert row_of(quality, "top-3").kind == "baseline"
    assert any("398,159,872 bytes" in note and "GB = 1,000,000,000 bytes" in note for note in quality.footnotes)
    assert "random: it needs a task with sets of labels." in quality.footnotes


def test_best_is_bold_by_test_not_by_dev(mixed: dict[str, Any]) -> None:
    quality = all_tables(mixed)[1]
    bold = {(row.cells[0].text, c.text) for row in quality.rows for c in row.cells if c.bold}
    assert bold == {("lora", "0.652")}


def test_nothing_is_bold_for_one_run() -> None:
    quality = all_tables(study([run()]))[1]
    assert not any(c.bold for row in quality.rows for c in row.cells)


def test_equal_as_printed_are_both_bold() -> None:
    quality = all_tables(study([run("lora", test=0.60011), run("dora", test=0.60009)]))[1]
    assert cell(quality, "lora", "Test micro-F1").bold
    assert cell(quality, "dora", "Test micro-F1").bold


@pytest.mark.parametrize("index", [0, 1])
def test_runs_that_did_not_end_well(mixed: dict[str, Any], index: int) -> None:
    table = all_tables(mixed)[index]
    full, dora = row_of(table, "full"), row_of(table, "dora")
    assert full.outcome is not None
    assert full.outcome.text == "does not fit"
    reason = "full – does not fit: needed more memory than this machine has free (12.3 GB)."
    assert table.footnotes[full.outcome.marks[0] - 1] == reason
    assert dora.outcome is not None
    assert dora.outcome.text == "diverged"
    assert table.footnotes[dora.outcome.marks[0] - 1] == "dora – diverged: the loss became NaN at step 7."
    assert {c.text for c in full.cells[1:]} == {"–"}
    assert table.cell(full, full.outcome_column) is full.outcome
    if index:
        assert titles(table)[full.outcome_column] == "Peak train"
        assert titles(table)[dora.outcome_column] == "Test micro-F1"


def test_dev_is_marked_optimistic_and_one_seed_as_noise(mixed: dict[str, Any]) -> None:
    quality = all_tables(mixed)[1]
    by_title = {column.title: column for column in quality.columns}
    assert ONE_SEED in [quality.footnotes[m - 1] for m in by_title["Test micro-F1"].marks]
    assert any("optimistic" in quality.footnotes[m - 1] for m in by_title["Dev micro-F1"].marks)


def test_seeds_are_grouped_as_numpy_says() -> None:
    values = [0.61, 0.655, 0.58]
    runs = [run("lora", test=value, seed=i) for i, value in enumerate(values)]
    speed, quality = all_tables(study(runs))
    assert len([row for row in quality.rows if row.kind == "run"]) == 1
    expected = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert cell(quality, "lora", "Test micro-F1").plain == expected
    assert cell(quality, "lora", "Seeds").text == "3"
    assert cell(speed, "lora", "Seeds").text == "3"
    assert cell(quality, "lora", "Trainable").plain == "4.88"
    assert ONE_SEED not in quality.footnotes


def test_a_lost_seed_is_left_out_and_said() -> None:
    runs = [run("lora", test=0.6), lost("lora", "diverged", "NaN", seed=1), run("full"), run("full", seed=1)]
    quality = all_tables(study(runs))[1]
    name = cell(quality, "lora", "Method")
    notes = [quality.footnotes[mark - 1] for mark in name.marks]
    assert notes == ["1 of 2 runs left out of the figures: seed 1 diverged: NaN.", ONE_SEED]
    assert cell(quality, "lora", "Test micro-F1").plain == "0.600"
    assert cell(quality, "lora", "Seeds").text == "1"
    details = runs_table(view_of(study(runs)))
    assert details is not None
    assert [c.text for c in details.rows[1].cells[:3]] == ["lora", "1", "diverged"]


def test_columns_appear_only_where_runs_differ() -> None:
    runs = [
        run("lora"),
        run("lora", readout="generate"),
        run("lora", readout="generate-constrained", model="shape:tiny"),
    ]
    quality = all_tables(study(runs))[1]
    assert titles(quality)[:3] == ["Method", "Readout", "Model"]
    assert "prompt report" in quality.caption
    assert "model" not in quality.caption
    assert [column.unit for column in quality.columns][-1] == "% of test"


def test_parse_failures_only_where_the_readout_generates() -> None:
    by_split = {"dev": scores(0.5), "test": scores(0.5, failures=0.025)}
    quality = all_tables(study([run("lora"), run("dora", readout="generate", scores=by_split)]))[1]
    assert cell(quality, "lora", "Parse failures").text == "–"
    assert cell(quality, "dora", "Parse failures").text == "2.5"
    assert "Parse failures" not in titles(all_tables(study([run("lora")]))[1])


def test_the_unparsable_share_of_a_prompted_model_is_in_the_table() -> None:
    by_split = {"dev": scores(0.5), "test": scores(0.5, failures=0.125)}
    asked = run("", approach="prompted", name="chain-of-thought", readout="", scores=by_split)
    assert cell(all_tables(study([asked]))[1], "chain-of-thought", "Parse failures").text == "12.5"


def prompted(name: str, answer: str, **changes: Any) -> dict[str, Any]:
    return run("", approach="prompted", name=name, readout="", answer=answer, preset="", trainable_parameters=0,
               tokens_per_second=None, **changes)  # fmt: skip


def test_a_prompted_run_beside_tuned_ones_has_no_preset_to_differ_in() -> None:
    record = study([run("lora"), prompted("few-shot", "constrained"), prompted("knn-vote", "")])
    view = view_of(record)
    assert view.varying == ("readout",)
    assert view.constant == {"model": "default", "prompt": "report", "preset": "default"}
    assert [view.label(group) for group in view.groups] == ["lora · head", "few-shot · constrained", "knn-vote"]
    assert "Preset" not in titles(all_tables(record)[0])


def test_the_peak_while_training_is_of_what_trains() -> None:
    small = {"load": 10**9, "train": 10**9, "evaluate": 2 * 10**9}
    asked = [prompted(name, "constrained", peak_bytes=small) for name in ("zero-shot", "few-shot")]
    (of_all,) = (s for s in summary(view_of(study([run("lora"), run("qlora"), *asked]))) if s.startswith("Peak"))
    assert of_all.startswith("Peak memory while training") and "few-shot" not in of_all
    (of_asked,) = (s for s in summary(view_of(study(asked))) if s.startswith("Peak"))
    assert of_asked.startswith("Peak memory while predicting") and "2.00" in of_asked


def test_intervals_stand_beside_the_primary_score() -> None:
    def ended(method: str, seed: int, low: float, high: float) -> dict[str, Any]:
        by_split = {"dev": scores(0.6), "test": {**scores(0.5), "intervals": {"micro_f1": [low, high]}}}
        return run(method, seed=seed, scores=by_split)

    runs = [ended("lora", 0, 0.4, 0.6), ended("lora", 1, 0.42, 0.64), run("dora")]
    quality = all_tables(study(runs))[1]
    assert [cell(quality, "lora", title).text for title in ("From", "To")] == ["0.410", "0.620"]
    assert cell(quality, "dora", "From").text == "–"
    assert any("95% bootstrap interval of the test micro-F1" in note for note in quality.footnotes)
    assert "From" not in titles(all_tables(study([run("lora")]))[1])


def test_random_weights_are_marked_and_never_best() -> None:
    record = study([run("lora", model="shape:tiny", test=0.9), run("lora", test=0.5), run("dora", test=0.6)])
    quality = all_tables(record)[1]
    shaped = next(row for row in quality.rows if row.cells[1].text == "shape:tiny")
    assert RANDOM_WEIGHTS in [quality.footnotes[m - 1] for m in shaped.cells[0].marks]
    assert not any(c.bold for c in shaped.cells)
    assert any("0.600, by dora" in sentence for sentence in summary(view_of(record)))


def test_unlabelled_test_split() -> None:
    record = unlabelled()
    _, quality, board = all_tables(record)
    for name in ("lora", "qlora", "top-3"):
        assert cell(quality, name, "Test micro-F1").text == "not scored"
    assert cell(quality, "lora", "Dev micro-F1").text == "0.500"
    test_column = next(column for column in quality.columns if column.title == "Test micro-F1")
    assert "The test split has no gold labels here." in [quality.footnotes[m - 1] for m in test_column.marks]
    assert not any(c.bold for row in quality.rows for c in row.cells)
    assert {row.kind for row in board.rows} == {"team"}
    assert "runs cannot be placed" in board.footnotes[0]
    said = " ".join(summary(view_of(record)))
    assert "best" not in said
    assert "optimistic" in said


def test_leaderboard_places_runs_between_teams() -> None:
    board = [{"team": t, "micro_f1": v, "macro_f1": 0.2} for t, v in (("A", 0.6), ("B", 0.5), ("C", 0.5), ("D", 0.1))]
    table = all_tables(study([run("lora", test=0.55), run("full", test=0.05)], leaderboard=board))[2]
    shown = [(row.cells[0].text, row.cells[1].text) for row in table.rows]
    assert shown == [("1", "A"), ("(2)", "lora"), ("2", "B"), ("2", "C"), ("4", "D"), ("(5)", "full")]
    assert len(all_tables(study([run()]))) == 2


def test_labels_by_gold_count() -> None:
    table = label_table(view_of(study([run("lora"), run("dora", test=0.5), lost("full", "failed", "x")])))
    assert table is not None
    assert titles(table) == ["Label", "Gold", "lora", "dora"]
    assert [row.cells[0].text for row in table.rows] == ["Slogans", "Doubt", "Loaded Language"]
    assert [c.text for c in table.rows[0].cells] == ["Slogans", "30", "0.60", "0.50"]
    assert "test split" in table.title
    assert label_table(view_of(study([lost("full", "failed", "x")]))) is None


def test_summary_of_a_mixed_study(mixed: dict[str, Any]) -> None:
    assert summary(view_of(mixed)) == [
        "2 of 4 runs ended well; full does not fit in memory, dora diverged.",
        "The best test micro-F1 is 0.652, by lora: 0.212 above the strongest baseline, top-3 (0.440).",
        "Each figure is of one seed, so differences of a few points are noise.",
        "Peak memory while training ranges from 2.75 (lora) to 3.00 GB (qlora).",
        "Training speed ranges from 300 (qlora) to 580 tokens/s (lora).",
    ]


def test_summary_below_the_baseline() -> None:
    assert "Test micro-F1 is 0.400, by lora: 0.040 below the strongest" in " ".join(
        summary(view_of(study([run(test=0.4)])))
    )


def test_figures_that_are_not_on_record_are_dashes() -> None:
    speed = all_tables(study([run(tokens_per_second=None, seconds_per_iteration=float("nan"))]))[0]
    assert texts(speed, "lora") == ["lora", "–", "23.7", "48.0", "–", "22.7"]


def test_decimals() -> None:
    assert decimals([]) == 2
    assert decimals([0.0]) == 2
    assert decimals([0.518, 12.0]) == 3
    assert decimals([123456.0]) == 0
    assert decimals([0.0004, 2.0]) == 4


def test_cut_texts_are_a_footnote() -> None:
    cut = {"test": {"texts": 3, "examples": 60, "tokens": 1234, "max_length": 64}}
    record = study([run("lora", cut_texts=cut), run("qlora")])
    speed, quality = all_tables(record)[:2]
    said = "lora: 3 of 60 test texts are longer than --max-length 64 allows: 1,234 tokens at their ends were left out."
    assert said in quality.footnotes and said not in speed.footnotes
    marks = row_of(quality, "lora").cells[0].marks
    assert quality.footnotes.index(said) + 1 in marks
    assert not set(row_of(quality, "qlora").cells[0].marks) & {quality.footnotes.index(said) + 1}
