"""`sweep` of a study: which value is chosen, which runs that takes, what is recorded, and what an interruption keeps.

The runs are made up by a launcher of the test's own, whose scores are a known function of the spec.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import DataError, OptionError, SemtuneError
from semtune.records import RunResult, RunSpec, Scores
from semtune.report.tables import all_tables
from semtune.runs.outcome import unmeasured
from semtune.study.grid import study_from
from semtune.study.study import run_study
from semtune.study.sweep import SWEEP_FILE

RATES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]


def peak_at(best: float) -> Callable[[RunSpec], float | None]:
    """A score that falls with the distance of the learning rate from `best`, and differs between folds."""

    def score(spec: RunSpec) -> float:
        distance = abs(math.log10(spec.method_options["learning_rate"] / best))
        return 0.9 - 0.1 * distance + 0.01 * int(str(spec.fold)[0])

    return score


class Scoring:
    """A launcher whose runs score what a function of their spec says; None: they diverge."""

    def __init__(self, score: Callable[[RunSpec], float | None], stop_at: int | None = None) -> None:
        self.score, self.stop_at = score, stop_at
        self.asked: list[RunSpec] = []

    @property
    def folds(self) -> list[RunSpec]:
        """The runs of the sweep."""
        return [spec for spec in self.asked if spec.fold is not None]

    def submit(self, spec: RunSpec, folder: Path) -> int:
        self.asked.append(spec)
        return len(self.asked) - 1

    def wait(self, handles: Sequence[int]) -> tuple[int, RunResult]:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        spec = self.asked[handles[0]]
        score = 0.5 if spec.fold is None else self.score(spec)
        if score is None:
            return handles[0], unmeasured(spec, "diverged", reason="planted")
        scores = {"dev": Scores("micro_f1", {"micro_f1": score, "macro_f1": 0.0})}
        return handles[0], unmeasured(spec, "ok", scores=scores, train_seconds=2.0, load_seconds=1.0)

    def interrupt(self, handles: Sequence[int]) -> list[tuple[int, RunResult]]:
        return [(handle, unmeasured(self.asked[handle], "interrupted")) for handle in handles]


def sweep(out: Path, launcher: Scoring, said: list[str] | None = None, **values: Any) -> dict[str, Any]:
    """A study of LoRA with five learning rates, unless `values` say otherwise."""
    plain = {"task": "practice", "methods": ["lora"], "baselines": [], "sweep": {"learning_rate": RATES}, **values}
    return run_study(study_from(plain, "it"), out, "test", launcher, (said if said is not None else []).append)


def test_each_row_runs_with_the_best_value_of_its_own(tmp_path: Path) -> None:
    best = {"lora": 1e-2, "full": 1e-4}
    launcher = Scoring(lambda spec: peak_at(best[spec.method])(spec))
    said: list[str] = []
    record = sweep(tmp_path / "s", launcher, said, methods=["full", "lora"], seeds=[0, 1])
    runs = [spec for spec in launcher.asked if spec.fold is None]
    assert {(s.method, s.seed): s.method_options["learning_rate"] for s in runs} == {
        (method, seed): rate for method, rate in best.items() for seed in (0, 1)
    }
    assert launcher.asked.index(runs[0]) == len(launcher.folds)  # the whole choice comes before the first of them
    file = json.loads((tmp_path / "s" / SWEEP_FILE).read_text())
    assert file == record["sweep"]
    assert file["waiting_runs"] == []
    for row in file["rows"]:
        assert row["chosen"] == {"learning_rate": best[row["method"]]}
        assert len(row["trials"]) == len(RATES)
        (chosen,) = [trial for trial in row["trials"] if trial["outcome"] == "chosen"]
        pairs = [(run["fold"], run["seed"]) for run in chosen["runs"]]
        assert sorted(pairs) == [(f"{fold}/3", seed) for fold in (1, 2, 3) for seed in (0, 1)]
        assert pairs[0][0] != pairs[1][0]
        assert chosen["runs"][0]["seconds"] == 3.0
    sentences = [row["sentence"] for row in file["rows"]]
    count = sum(spec.method == "lora" for spec in launcher.folds)
    wanted = f"lora: learning_rate 0.01, chosen among 5 values by 3-fold cross-validation on train + dev; {count} runs"
    assert wanted in sentences
    assert set(sentences) <= set(record["task_notes"])
    assert f"sweep: {wanted}" in said


def test_successive_halving_gives_worse_values_up_early(tmp_path: Path) -> None:
    launcher = Scoring(peak_at(1e-3))  # the middle value, which is tried first
    record = sweep(tmp_path / "s", launcher, seeds=[0, 1, 2])
    (row,) = record["sweep"]["rows"]
    outcomes = {trial["value"]["learning_rate"]: (trial["outcome"], len(trial["runs"])) for trial in row["trials"]}
    assert outcomes[1e-3] == ("chosen", 9)
    assert all(outcome == "pruned" and runs < 9 for rate, (outcome, runs) in outcomes.items() if rate != 1e-3)
    assert len(launcher.folds) < 9 + 4 * 4
    table = next(table for table in all_tables(record) if table.key == "sweep")
    assert [cell.text for cell in table.rows[0].cells][:3] == ["lora", "learning_rate 0.001", "9"]
    assert [row.cells[-1].text for row in table.rows].count("pruned") == 4


def test_what_folds_divide_is_said_before_the_runs_and_recorded(tmp_path: Path) -> None:
    rows = [f"a text that stands here twice or so: number {i // 2},{'ab'[i // 2 % 2]},u{i % 6}" for i in range(24)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["text,label,user", *rows]), encoding="utf-8")
    said: list[str] = []
    options = {"data": str(table), "test_fraction": 0.0}
    record = sweep(tmp_path / "s", Scoring(peak_at(1e-3)), said, task="table", task_options=options)
    shared, groups = said[:2]
    assert "texts of train and dev are also in another fold" in shared
    assert '"user" has 6' in groups and "folds" in groups
    assert {shared.removeprefix("note: "), groups.removeprefix("note: ")} <= set(record["task_notes"])


def test_a_lower_score_is_better_where_the_metric_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from semtune.tasks.practice import Practice

    metrics = Practice(RunSpec("practice").task_options).metrics
    lower = (replace(metrics[0], higher_is_better=False), *metrics[1:])
    monkeypatch.setattr(Practice, "metrics", property(lambda self: lower))
    record = sweep(tmp_path / "s", Scoring(lambda spec: 1 - (peak_at(1e-4)(spec) or 0)))
    assert record["sweep"]["rows"][0]["chosen"] == {"learning_rate": 1e-4}


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = Scoring(peak_at(1e-2))
    expected = sweep(tmp_path / "whole", whole)["sweep"]["rows"]
    for stop_at in (1, 2, 5):
        out = tmp_path / str(stop_at)
        with pytest.raises(KeyboardInterrupt):
            sweep(out, Scoring(peak_at(1e-2), stop_at=stop_at))
        again = Scoring(peak_at(1e-2))
        assert sweep(out, again)["sweep"]["rows"] == expected
        assert len(again.folds) == len(whole.folds) - (stop_at - 1)


def test_what_waits_in_the_file_survives_another_interruption(tmp_path: Path) -> None:
    """The second call stops before its second row has taken up what the first call had measured of it."""
    score, methods = peak_at(1e-2), ["full", "lora"]
    first = Scoring(score)
    sweep(tmp_path / "s", first, methods=methods)
    more = {"methods": methods, "sweep": {"learning_rate": [*RATES, 5e-1]}}
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "s", Scoring(score, stop_at=1), **more)
    last = Scoring(score)
    sweep(tmp_path / "s", last, **more)
    done = [(spec.method, spec.method_options["learning_rate"], spec.fold) for spec in first.folds]
    assert not {(spec.method, spec.method_options["learning_rate"], spec.fold) for spec in last.folds} & set(done)


def test_a_value_whose_run_fails_is_out_and_a_row_without_any_keeps_its_own(tmp_path: Path) -> None:
    good = peak_at(1e-1)
    launcher = Scoring(lambda spec: None if spec.method_options["learning_rate"] > 1e-2 else good(spec))
    said: list[str] = []
    rows = sweep(tmp_path / "some", launcher, said)["sweep"]["rows"]
    assert rows[0]["chosen"] == {"learning_rate": 1e-2}
    (failed,) = [trial for trial in rows[0]["trials"] if trial["outcome"] == "failed"]
    assert failed["runs"][0]["reason"] == "planted"
    assert "  diverged: planted" in said
    launcher = Scoring(lambda spec: None)
    record = sweep(tmp_path / "none", launcher)
    assert record["sweep"]["rows"][0]["chosen"] is None
    assert launcher.asked[-1].method_options["learning_rate"] == 5e-4
    assert "lora: learning_rate 0.0005, as no run of a value ended well" in record["sweep"]["rows"][0]["sentence"]


def test_several_options_are_combined_and_a_row_sweeps_those_that_it_has(tmp_path: Path) -> None:
    launcher = Scoring(lambda spec: spec.epochs + int(spec.method_options.get("rank", 0)) / 100)
    swept = {"rank": "4,8", "epochs": [1, 2]}
    rows = sweep(tmp_path / "s", launcher, methods=["lora", "full"], sweep=swept)["sweep"]["rows"]
    assert {row["method"]: row["chosen"] for row in rows} == {"lora": {"rank": 8, "epochs": 2}, "full": {"epochs": 2}}
    assert len(rows[0]["trials"]) == 4
    record = sweep(tmp_path / "t", Scoring(peak_at(1)), methods=["lora", "full"], sweep={"rank": [4, 8]})
    assert "full has no option rank: nothing was swept for it" in record["task_notes"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sweep": "learning_rate"}, "must map options to lists of values"),
        ({"sweep": {"learning_rate": [1e-3]}}, "at least two values"),
        ({"sweep": {"learning_rate": 1e-3}}, "at least two values"),
        ({"sweep": {"learning_rate": "1e-3,"}}, "at least two values"),
        ({"sweep": {"learning_rate": [1e-3, "0.001"]}}, "learning_rate 0.001 twice"),
        ({"sweep": {"learning_rate": [1e-3, "high"]}}, "learning_rate"),
        ({"sweep": {"learning_rate": [1e-3, -1]}}, "above 0"),
        ({"sweep": {"learning_rat": [1, 2]}}, "learning_rate"),
        ({"sweep": {"seed": [1, 2]}}, "no option of how its models are tuned"),
        ({"sweep": {"rank": [1, 2]}, "methods": ["full"]}, "no option of how its models are tuned"),
        ({"methods": [], "strategies": ["zero-shot"]}, "tunes no model"),
        ({"sweep_folds": 1}, "at least 2"),
        ({"fold": "1/3"}, 'unknown key "fold"'),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_runs(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    launcher = Scoring(peak_at(1))
    with pytest.raises(SemtuneError, match=said):
        sweep(tmp_path / "s", launcher, **values)
    assert launcher.asked == []
    assert not (tmp_path / "s").exists()


def test_without_optuna_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OptionError, match="run pip install optuna"):
        sweep(tmp_path / "s", Scoring(peak_at(1)))


def test_a_broken_record_of_a_sweep_is_said_to_be_broken(tmp_path: Path) -> None:
    record = sweep(tmp_path / "s", Scoring(peak_at(1e-3)))
    with pytest.raises(DataError, match='"sweep" is broken'):
        all_tables({**record, "sweep": {"rows": [{}]}})


def test_an_impossible_score_in_the_file_is_measured_again(tmp_path: Path) -> None:
    """A score of 93 would make its value the best one."""
    expected = sweep(tmp_path / "s", Scoring(peak_at(1e-3)))["sweep"]["rows"]
    file = tmp_path / "s" / SWEEP_FILE
    plain = json.loads(file.read_text(encoding="utf-8"))
    plain["rows"][0]["trials"][-1]["runs"][0]["score"] = 93.0
    file.write_text(json.dumps(plain), encoding="utf-8")
    assert sweep(tmp_path / "s", Scoring(peak_at(1e-3)))["sweep"]["rows"] == expected
