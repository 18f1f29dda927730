"""A study file, the grid it stands for, and the record it leaves; runs are made up by a launcher of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import OptionError, OutputError, SemtuneError, UnknownNameError
from semtune.records import RunResult, RunSpec, to_plain
from semtune.report.tables import all_tables
from semtune.runs.outcome import unmeasured
from semtune.runs.runner import run
from semtune.specs import read_yaml
from semtune.study.grid import overridden, study_from
from semtune.study.launchers.process import Child, _result_of, _without_result
from semtune.study.study import run_study

from ..runs.test_runner import Silent

STUDIES = Path(__file__).resolve().parents[2] / "studies"


class Inventing:
    """A launcher that runs nothing and remembers what it was asked for; baselines run for real, in this process."""

    def __init__(self, stop_at: int | None = None, newest_first: bool = False) -> None:
        self.asked: list[RunSpec] = []
        self.stop_at, self.newest_first = stop_at, newest_first
        self.most_under_way = 0
        self.interrupted: list[RunSpec] = []

    def submit(self, spec: RunSpec, folder: Path) -> tuple[int, Path]:
        self.asked.append(spec)
        return len(self.asked) - 1, folder

    def wait(self, handles: Sequence[tuple[int, Path]]) -> tuple[tuple[int, Path], RunResult]:
        self.most_under_way = max(self.most_under_way, len(handles))
        number, folder = handle = handles[-1 if self.newest_first else 0]
        spec = self.asked[number]
        if spec.approach == "baseline":
            return handle, run(spec, folder, Silent(), overwrite=True)
        tuned = [i for i, asked in enumerate(self.asked) if asked.approach != "baseline"]
        if self.stop_at is not None and tuned.index(number) + 1 == self.stop_at:
            raise KeyboardInterrupt
        if spec.method == "full":
            return handle, unmeasured(spec, "out_of_memory", reason="too large")
        return handle, unmeasured(spec, "ok")

    def interrupt(self, handles: Sequence[tuple[int, Path]]) -> list[tuple[tuple[int, Path], RunResult]]:
        self.interrupted = [self.asked[number] for number, _ in handles]
        return [(handle, unmeasured(self.asked[handle[0]], "interrupted")) for handle in handles]


def test_the_grid_is_every_combination_once_with_overrides() -> None:
    study = study_from(
        {
            "task": "practice", "methods": ["lora", "dora"], "readouts": ["head", "generate"], "seeds": [0, 1],
            "epochs": 2, "overrides": {"dora": {"rank": 4}},
        },
        "it",
    )  # fmt: skip
    runs = study.runs()
    assert len(runs) == 8
    assert {(s.method, s.readout, s.seed) for s in runs.values()} == {
        (m, r, s) for m in ("lora", "dora") for r in ("head", "generate") for s in (0, 1)
    }
    assert all(s.epochs == 2 for s in runs.values())
    assert {s.method_options["rank"] for s in runs.values() if s.method == "dora"} == {4}
    assert {s.method_options["rank"] for s in runs.values() if s.method == "lora"} == {16}


def test_an_option_shared_by_methods_reaches_those_that_have_it() -> None:
    study = study_from({"task": "practice", "methods": ["full", "lora"], "rank": 4, "recompute": True}, "it")
    by_method = {s.method: s for s in study.runs().values()}
    assert by_method["lora"].method_options["rank"] == 4
    assert "rank" not in by_method["full"].method_options
    assert all(s.activation_checkpointing for s in by_method.values())


def test_a_given_option_stands_above_the_files_however_each_is_written() -> None:
    file = {"task": "practice", "method": "dora", "method_options": {"rank": 8}, "alpha": 4.0, "recompute": True}
    given = {"methods": ["lora"], "rank": 2, "activation_checkpointing": False, "task_options": {"encoding": "latin-1"}}
    (run,) = study_from(overridden(file, given, "it"), "it").runs().values()
    assert (run.method, run.method_options["rank"], run.method_options["alpha"]) == ("lora", 2, 4.0)
    assert not run.activation_checkpointing
    assert run.task_options.encoding == "latin-1"


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda f: f.stem)
def test_shipped_studies_are_valid(file: Path) -> None:
    assert study_from(read_yaml(file), str(file)).runs()


def test_the_original_experiment_is_as_it_was() -> None:
    runs = study_from(read_yaml(STUDIES / "report.yaml"), "report.yaml").runs().values()
    assert {s.model for s in runs} == {"meta-llama/Llama-2-7b-hf", "meta-llama/Llama-3.2-1B"}
    assert {s.method for s in runs} == {"full", "lora", "qlora"}
    assert {(s.preset, s.readout_options["train_on_prompt"], s.readout) for s in runs} == {("report", True, "generate")}


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"task": "practice", "epoch": 2}, UnknownNameError, 'did you mean "epochs"'),
        ({"task": "practice", "overrides": {"lroa": {}}}, UnknownNameError, 'did you mean "lora"'),
        ({"task": "practice", "overrides": {"lora": {"rnk": 4}}}, UnknownNameError, 'did you mean "rank"'),
        ({"task": "practice", "overrides": {"full": {"rank": 4}}}, OptionError, 'full has no option "rank"'),
        ({"task": "practice", "method_options": {"rnk": 4}}, OptionError, 'did you mean "rank"'),
        ({"task": "practice", "methods": []}, OptionError, "empty"),
        ({"task": "practice", "methods": ["lora", "lora"]}, OptionError, "twice"),
        ({"task": "practice", "seed": 1, "seeds": [1]}, OptionError, "both"),
        ({"methods": ["lora"]}, OptionError, "names no task"),
        ({"task": "practice", "epochs": "many"}, OptionError, "epochs"),
        ({"task": "practice", "strategies": ["zeroshot"]}, UnknownNameError, 'did you mean "zero-shot"'),
        ({"task": "practice", "baselines": ["tfdif"]}, UnknownNameError, 'did you mean "tfidf"'),
        ({"task": "practice", "launcher": "proces"}, UnknownNameError, 'did you mean "process"'),
        ({"task": "practice", "paralel": 2}, UnknownNameError, 'did you mean "parallel"'),
    ],
)
def test_mistakes_in_a_study(values: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        study_from(values, "it").runs()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"seeds": "0-2"}, '"seeds" must be a list of whole numbers, such as seeds: [0, 1, 2], not "0-2"'),
        ({"seed": "0-2"}, '"seed" must be a list of whole numbers, such as seeds: [0, 1, 2], not "0-2"'),
        ({"seeds": ["0", "1,2"]}, '"seeds" must be a list of whole numbers, such as seeds: [0, 1, 2], not "1,2"'),
        ({"seeds": True}, '"seeds" must be a list of whole numbers, such as seeds: [0, 1, 2], not True'),
        ({"seeds": [0, 1.5]}, '"seeds" must be a list of whole numbers, such as seeds: [0, 1, 2], not 1.5'),
        ({"seeds": None}, '"seeds" must be a list of whole numbers, such as seeds: [0, 1, 2], not None'),
        ({"baselines": "none"}, 'there is no baseline called "none"; for no baselines write baselines: []'),
        ({"baselines": False}, "there is no baseline called False; for no baselines write baselines: []"),
        ({"baselines": None}, "there is no baseline called None; for no baselines write baselines: []"),
        ({"strategies": "none"}, 'there is no strategy called "none"; for no strategies write strategies: []'),
    ],
)
def test_lists_of_a_study_written_otherwise(values: dict[str, Any], says: str) -> None:
    with pytest.raises(SemtuneError) as refusal:
        study_from({"task": "practice", "methods": ["lora"], **values}, "it")
    assert str(refusal.value).startswith(f"it: {says}")


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": "many"},
        {"epochs": 0},
        {"rank": "many"},
        {"rank": 0},
        {"task": "practise"},
        {"methods": ["lorra"]},
        {"preset": "raport"},
        {"baselines": ["tfdif"]},
        {"launcher": "proces"},
        {"method_options": {"rnk": 4}},
        {"overrides": {"lroa": {}}},
        {"overrides": {"lora": {"epochs": 0}}},
        {"overrides": {"lora": {"epochs": "many"}}},
        {"overrides": {"lora": {"loss_on": True}}},
        {"methods": [], "strategies": ["zero-shot"], "max_length": 0},
    ],
)
def test_mistakes_in_a_study_file_name_the_file(values: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SemtuneError) as refusal:
        study = study_from({"task": "practice", "methods": ["lora"], **values}, "my.yaml", from_file=True)
        run_study(study, tmp_path / "out", "it", Inventing(), lambda _: None)
    assert str(refusal.value).count("my.yaml") == 1
    assert "the study" not in str(refusal.value)


def test_where_a_study_is_from_is_in_no_record() -> None:
    values = {"task": "practice", "methods": ["lora"]}
    study = study_from(values, "my.yaml", from_file=True)
    assert study == study_from(values, "it")
    assert "my.yaml" not in json.dumps(to_plain(study))


def test_the_record_holds_every_run_and_baseline(tmp_path: Path) -> None:
    study, said = study_from({"task": "practice", "methods": ["full", "lora"]}, "it"), []
    record = run_study(study, tmp_path / "out", "semtune study it", Inventing(), said.append)
    assert record == json.loads((tmp_path / "out" / "study.json").read_text())
    assert [run["status"] for run in record["runs"]] == ["out_of_memory", "ok"]
    assert any("too large" in line for line in said)
    tfidf = next(b for b in record["baselines"] if b["name"] == "tfidf")
    assert set(tfidf["scores"]) == {"dev", "test"}
    assert (tfidf["status"], tfidf["note"]) == ("ok", None)
    assert tfidf["train_seconds"] > 0
    assert tfidf["predict_examples_per_second"] > 0
    assert set(tfidf["peak_bytes"]) == {"load", "train", "evaluate"}
    assert (tmp_path / "out" / "baselines" / "tfidf" / "result.json").exists()


def test_baselines_are_kept_like_other_runs_and_can_be_chosen(tmp_path: Path) -> None:
    study = study_from({"task": "practice", "methods": ["lora"], "baselines": ["top-1", "random"]}, "it")
    first = run_study(study, tmp_path / "out", "it", Inventing(), lambda _: None)
    assert [b["name"] for b in first["baselines"]] == ["top-1", "random"]
    again = Inventing()
    assert run_study(study, tmp_path / "out", "it", again, lambda _: None)["baselines"] == first["baselines"]
    assert [spec.approach for spec in again.asked] == ["tuned"], "that launcher left no folder of the tuned run"


def test_a_baseline_that_does_not_serve_the_task_has_a_note(tmp_path: Path, reviews: Path) -> None:
    options = {"data": str(reviews), "text_column": "comment", "label_column": "mood"}
    study = study_from({"task": "table", "task_options": options, "methods": ["lora"], "baselines": ["top-2"]}, "it")
    launcher = Inventing()
    record = run_study(study, tmp_path / "out", "it", launcher, lambda _: None)
    assert record["baselines"] == [{"name": "top-2", "scores": {}, "note": "it needs a task with sets of labels"}]
    assert [spec.approach for spec in launcher.asked] == ["tuned"]


def test_strategies_add_rows(tmp_path: Path) -> None:
    study = study_from({"task": "practice", "methods": [], "strategies": ["zero-shot"], "baselines": []}, "it")
    record = run_study(study, tmp_path / "out", "it", Inventing(), lambda _: None)
    (row,) = record["runs"]
    assert (row["approach"], row["name"], row["out"]) == ("prompted", "zero-shot", "zero-shot-report-s0")
    assert (row["model"], row["prompt"], row["method"], row["readout"]) == ("default", "report", "", "")
    assert "zero-shot" in {cell.text for table in all_tables(record) for r in table.rows for cell in r.cells}


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_so_many_runs_are_under_way_and_the_record_keeps_the_order_of_the_grid(parallel: int, tmp_path: Path) -> None:
    study = study_from({"task": "practice", "methods": ["full", "lora", "qlora", "dora"], "baselines": []}, "it")
    launcher = Inventing(newest_first=True)
    record = run_study(study, tmp_path / "out", "it", launcher, lambda _: None, parallel=parallel)
    assert launcher.most_under_way == parallel
    assert [run["method"] for run in record["runs"]] == ["full", "lora", "qlora", "dora"]
    assert any("under way at once" in note for note in record["task_notes"]) == (parallel > 1)


def test_an_interruption_reaches_every_run_under_way(tmp_path: Path) -> None:
    study = study_from({"task": "practice", "methods": ["full", "lora", "qlora", "dora"], "baselines": []}, "it")
    launcher = Inventing(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "out", "it", launcher, lambda _: None, parallel=3)
    assert [spec.method for spec in launcher.interrupted] == ["lora", "qlora", "dora"]
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    assert [run["method"] for run in record["runs"]] == ["full"]


def test_a_run_that_was_interrupted_alone_stops_the_study(tmp_path: Path) -> None:
    class Interrupting(Inventing):
        def wait(self, handles: Sequence[tuple[int, Path]]) -> tuple[tuple[int, Path], RunResult]:
            return handles[0], unmeasured(self.asked[0], "interrupted")

    study = study_from({"task": "practice", "methods": ["lora", "dora"], "baselines": []}, "it")
    launcher = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "out", "it", launcher, lambda _: None)
    assert len(launcher.asked) == 1
    with pytest.raises(OptionError, match="--parallel"):
        run_study(study, tmp_path / "out", "it", launcher, lambda _: None, parallel=0)


def test_what_had_finished_survives_an_interruption(tmp_path: Path) -> None:
    study = study_from({"task": "practice", "methods": ["lora", "dora"]}, "it")
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "out", "it", Inventing(stop_at=2), lambda _: None)
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    assert [run["method"] for run in record["runs"]] == ["lora"]


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="--out"):
        run_study(study_from({"task": "practice"}, "it"), tmp_path, "it", Inventing(), lambda _: None)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("status", "output", "outcome", "says"),
    [
        (-9, "", "out_of_memory", "memory"),
        (2, '{"error": "There is no model."}\n', "failed", "There is no model."),
        (139, "junk", "failed", "139"),
        (130, "", "interrupted", "interrupted"),
        (-2, "", "interrupted", "interrupted"),
    ],
)
def test_a_child_without_a_result_gets_one(status: int, output: str, outcome: str, says: str, tmp_path: Path) -> None:
    result = _without_result(RunSpec("practice"), tmp_path / "run", status, output)
    assert result.status == outcome
    assert says in str(result.reason)
    assert (tmp_path / "run" / "result.json").exists()


def test_a_damaged_result_of_an_earlier_run_is_not_the_childs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "adapter").mkdir(parents=True)
    (folder / "result.json").write_text('{"status": "o')
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])
    process.wait()
    output = (tmp_path / "output").open("w+b")
    child = Child(RunSpec("practice"), folder, process, output, tempfile.TemporaryDirectory(), "an id")
    result = _result_of(child)
    assert (result.status, result.run_id) == ("failed", "an id")
    assert "exit status 2" in str(result.reason)
