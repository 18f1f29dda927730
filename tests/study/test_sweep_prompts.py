"""`sweep` of strategy, prompt and optimizer options, in studies of prompted rows and of prompted and tuned ones.

As in `test_sweep`, the runs are made up: their scores are a known function of the spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import SemtuneError
from semtune.prompts.report import ReportPrompt
from semtune.records import RunSpec
from semtune.registry import PROMPTS
from semtune.report.tables import all_tables, quality_table
from semtune.report.view import view_of

from .test_sweep import RATES, Scoring, peak_at, sweep

PROMPTED: dict[str, Any] = {"methods": [], "strategies": ["few-shot"]}


def by_demonstrations(best: int) -> Any:
    """A score that falls with the distance from `best`, and differs between folds."""

    def score(spec: RunSpec) -> float:
        distance = abs(spec.strategy_options["demonstrations"] - best)
        return 0.9 - 0.02 * distance + 0.01 * int(str(spec.fold)[0])

    return score


def test_a_prompted_row_runs_with_the_best_number_of_demonstrations(tmp_path: Path) -> None:
    launcher, said = Scoring(by_demonstrations(4)), []
    record = sweep(tmp_path / "s", launcher, said, **PROMPTED, seeds=[0, 1], sweep={"demonstrations": "2,4,8"})
    runs = [spec for spec in launcher.asked if spec.fold is None]
    assert [(s.strategy_options["demonstrations"], s.seed) for s in runs] == [(4, 0), (4, 1)]
    (row,) = record["sweep"]["rows"]
    assert (row["strategy"], row["method"], row["readout"], row["chosen"]) == (
        "few-shot",
        "",
        "",
        {"demonstrations": 4},
    )
    wanted = (
        "few-shot: demonstrations 4, chosen among 3 values by 3-fold cross-validation on train + dev; "
        f"{len(launcher.folds)} runs"
    )
    assert row["sentence"] == wanted
    assert wanted in record["task_notes"]
    assert f"sweep: {wanted}" in said
    quality = quality_table(view_of(record))
    (mark,) = [i for i, note in enumerate(quality.footnotes, start=1) if note == f"{wanted}."]
    assert mark in quality.rows[0].cells[0].marks
    table = next(table for table in all_tables(record) if table.key == "sweep")
    assert {row.cells[1].text for row in table.rows} == {f"demonstrations {n}" for n in (2, 4, 8)}
    folds = {(spec.fold, spec.seed) for spec in launcher.folds if spec.strategy_options["demonstrations"] == 4}
    assert folds == {(f"{fold}/3", seed) for fold in (1, 2, 3) for seed in (0, 1)}


def test_a_mixed_study_sweeps_for_each_row_what_it_has(tmp_path: Path) -> None:
    def score(spec: RunSpec) -> float | None:
        if spec.approach == "tuned":
            return peak_at(1e-2)(spec)
        return by_demonstrations(8 if spec.strategy == "retrieval" else 2)(spec)

    launcher = Scoring(score)
    values = {"strategies": ["few-shot", "retrieval", "zero-shot"]}
    swept = {"learning_rate": RATES, "demonstrations": [2, 4, 8]}
    record = sweep(tmp_path / "s", launcher, **values, sweep=swept)
    rows = {row["label"]: row for row in record["sweep"]["rows"]}
    assert {label: row["chosen"] for label, row in rows.items()} == {
        "lora": {"learning_rate": 1e-2},
        "few-shot": {"demonstrations": 2},
        "retrieval": {"demonstrations": 8},
        "zero-shot": None,
    }
    assert rows["lora"]["sentence"].endswith("left out, as it does not have them: demonstrations")
    assert rows["few-shot"]["sentence"].endswith("left out, as it does not have them: learning_rate")
    said = "zero-shot has no option learning_rate or demonstrations: nothing was swept for it"
    assert said in record["task_notes"]
    assert not [spec for spec in launcher.folds if spec.strategy == "zero-shot"]
    names = [run["name"] or run["method"] for run in record["runs"]]
    assert names == ["lora", "few-shot", "retrieval", "zero-shot"]


def test_a_value_that_a_row_cannot_have_is_left_out_for_it(tmp_path: Path) -> None:
    """`order` has other values in `retrieval` than in `few-shot`, and one of the three is neither's."""
    launcher = Scoring(lambda spec: 0.5 + 0.1 * (spec.strategy_options["order"] in ("labels", "nearest-first")))
    orders = ["random", "labels", "nearest-last", "nearest-first"]
    both = {"methods": [], "strategies": ["few-shot", "retrieval"]}
    record = sweep(tmp_path / "s", launcher, **both, sweep={"order": orders})
    rows = {row["label"]: row for row in record["sweep"]["rows"]}
    assert {label: row["chosen"]["order"] for label, row in rows.items()} == {
        "few-shot": "labels",
        "retrieval": "nearest-first",
    }
    assert rows["few-shot"]["left_out"] == ["order nearest-last", "order nearest-first"]
    record = sweep(tmp_path / "t", Scoring(lambda spec: 0.5), **both, sweep={"order": orders[:3]})
    assert "retrieval can have fewer than two values of order: nothing was swept for it" in record["task_notes"]
    assert record["sweep"]["rows"][1]["chosen"] is None
    with pytest.raises(SemtuneError, match="order"):
        sweep(tmp_path / "u", Scoring(lambda spec: 0.5), **both, sweep={"order": [*orders, "longest-first"]})


def test_wordings_and_answers_are_swept_also_ones_own(tmp_path: Path) -> None:
    own = "Name what fits, if anything."
    launcher = Scoring(
        lambda spec: (
            0.5
            + 0.2 * (spec.strategy_options["instruction"] == own)
            + 0.1 * (spec.strategy_options["answer"] == "rank")
        )
    )
    swept = {"instruction": ["question", own], "answer": ["constrained", "rank"]}
    record = sweep(tmp_path / "s", launcher, methods=[], strategies=["zero-shot"], sweep=swept)
    (row,) = record["sweep"]["rows"]
    assert row["chosen"] == {"instruction": own, "answer": "rank"}
    assert f'instruction "{own}", answer rank, chosen among 4 values' in row["sentence"]
    assert record["runs"][0]["answer"] == "rank"
    quality = quality_table(view_of(record))
    assert any(note.startswith(row["sentence"]) for note in quality.footnotes)


def test_options_of_optimizers_are_swept_with_the_optimizers_that_have_them(tmp_path: Path) -> None:
    launcher = Scoring(lambda spec: 0.5 + spec.optimizer_options.get("beta1", 0) / 10)
    swept = {"optimizer": ["adamw", "lion"], "beta1": [0.8, 0.95], "optimizer.beta2": [0.9, 0.98]}
    record = sweep(tmp_path / "s", launcher, sweep=swept)
    (row,) = record["sweep"]["rows"]
    tried = [trial["value"] for trial in row["trials"]]
    assert {"optimizer": "adamw"} in tried
    assert len(tried) == 5
    assert {k: row["chosen"][k] for k in ("optimizer", "beta1")} == {"optimizer": "lion", "beta1": 0.95}
    (run,) = [spec for spec in launcher.asked if spec.fold is None]
    assert (run.optimizer, run.optimizer_options["beta1"]) == ("lion", 0.95)


def test_an_option_that_method_and_optimizer_have_is_the_methods_unless_it_says_so(tmp_path: Path) -> None:
    def ranks(option: str, folder: str) -> tuple[int, int]:
        launcher = Scoring(lambda spec: 0.5 + (spec.method_options["rank"] + spec.optimizer_options["rank"]) / 1000)
        sweep(tmp_path / folder, launcher, optimizer="apollo", rank=8, sweep={option: [2, 64]})
        return launcher.asked[-1].method_options["rank"], launcher.asked[-1].optimizer_options["rank"]

    assert ranks("rank", "s") == (64, 32)
    assert ranks("optimizer.rank", "t") == (8, 64)


def test_options_of_a_prompt_are_swept_for_tuned_and_prompted_rows(tmp_path: Path) -> None:
    class Marked(ReportPrompt):
        name = "marked"

        @dataclass(frozen=True)
        class Settings:
            marker: str = "a"

    PROMPTS.register("marked", Marked, "a prompt with an option")
    try:
        launcher = Scoring(lambda spec: 0.5 + 0.1 * (spec.prompt_options["marker"] == "b"))
        values = {"prompts": ["marked"], "strategies": ["zero-shot"], "sweep": {"marker": ["a", "b"]}}
        rows = sweep(tmp_path / "s", launcher, **values)["sweep"]["rows"]
    finally:
        PROMPTS.unregister("marked")
    assert [(row["label"], row["chosen"]) for row in rows] == [
        ("lora", {"marker": "b"}),
        ("zero-shot", {"marker": "b"}),
    ]


def test_an_interrupted_sweep_of_prompts_goes_on_where_it_stopped(tmp_path: Path) -> None:
    values = {**PROMPTED, "sweep": {"demonstrations": [2, 4, 8], "choice": ["balanced", "random"]}}
    whole = Scoring(by_demonstrations(4))
    expected = sweep(tmp_path / "whole", whole, **values)["sweep"]["rows"]
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "s", Scoring(by_demonstrations(4), stop_at=5), **values)
    again = Scoring(by_demonstrations(4))
    assert sweep(tmp_path / "s", again, **values)["sweep"]["rows"] == expected
    assert len(again.folds) == len(whole.folds) - 4


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sweep": {"demonstratons": [1, 2]}}, 'did you mean "demonstrations"'),
        ({"sweep": {"demonstrations": [2, 0]}}, "at least 1"),
        ({"sweep": {"demonstrations": [2, "2"]}}, "demonstrations 2 twice"),
        ({"sweep": {"instruction": ["question", "comand"]}}, 'no instruction called "comand".*did you mean "command"'),
        ({"sweep": {"answer": ["rank", "yesno"]}}, 'did you mean "yes-no"'),
        ({"sweep": {"neighbours": ["bm25", "bm26"]}, "strategies": ["retrieval"]}, "bm26"),
        ({"sweep": {"strategy": ["few-shot", "zero-shot"]}}, "as rows, as strategies: "),
        ({"sweep": {"epochs": [1, 2]}}, "tunes no model"),
        ({"sweep": {"rank": [4, 8]}}, "tunes no model"),
        (
            {"sweep": {"demonstrations": [2, 4]}, "methods": ["lora"], "strategies": []},
            "option of prompting strategies",
        ),
        (
            {
                "strategies": ["tree-of-thought"],
                "sweep": {"search": ["breadth-first", "depth-first"], "evaluator": ["value", "vote"]},
            },
            "which a depth-first search cannot",
        ),
        ({"sweep": {"thought_tokens": [64, 5000]}, "strategies": ["chain-of-thought"]}, "leaves none"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_runs(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    launcher = Scoring(lambda spec: 0.5)
    with pytest.raises(SemtuneError, match=said):
        sweep(tmp_path / "s", launcher, **{**PROMPTED, **values})
    assert launcher.asked == []
    assert not (tmp_path / "s").exists()
