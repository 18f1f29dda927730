"""Rounds, screening, tables and records, with contestants that are made up or fail."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmarks.contestants.growth import whole_texts
from benchmarks.ratios import Run
from benchmarks.schedule import CONTESTANTS, ONCE

from benchmarks import figures, launch, peers, record, schedule, setting, step_7b, table

COMMON = {"work": "w", "threads": 1}
DATA = {"task": "practice", "texts": 3, "mean_tokens_per_text": 40.0, "notes": ["a note"]}
ABOUT = {"rounds": 3, "quick": False, "data": DATA, "threads": 1, "wall_seconds": 60, "record": "r"}
SPEEDS = {"ours": 100.0, "peft_trainer": 20.0, "trl_sft": 18.0}


def made_up(program: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every contestant's result without running any; TRL with autocast is slow, nf4-cached does not exist."""
    if settings["variant"] == "qlora-cached":
        return {"error": "OptionError: there is no precision [nf4-cached]"}
    if program == "predict":
        return {"examples_per_second": 5.0, "seconds": 4.0, "answers": ["x", "y"]}
    if program == "label_scoring":
        return {"texts_per_second": 5.0, "seconds": 4.0, "log_likelihoods": [[-1.0]]}
    if program == "startup":
        return {"seconds": 4.0}
    if program == "growth":
        rows = [{"tokens": t, "texts": 1, "seconds": t / 9, "peak_bytes_above_runtime": t} for t in (64, 128, 256)]
        return {"sizes": rows}
    speed = 3.0 if (program, settings["variant"]) == ("trl_sft", "lora") else SPEEDS.get(program, 50.0)
    memory = {"peak_bytes": 900, "load_peak_bytes": 800, "runtime_bytes": 400}
    return {"tokens": [100], "step_seconds": [100 / speed], "mfu": 0.5, **memory}


def bench(rounds: int, start: peers.Launch = made_up) -> tuple[list[Run], dict[str, list[str]]]:
    runs: list[Run] = []
    kept, whole = peers.all_rounds(rounds, COMMON, start, runs.append)
    assert whole == rounds
    return runs, kept


def test_round_1_runs_all_and_later_ones_only_the_kept_peers() -> None:
    runs, kept = bench(3)
    keys = [c.key for c in CONTESTANTS]
    assert sorted(r.contestant for r in runs if r.round == 0) == sorted([*keys, *(c.key for c in ONCE)])
    assert "trl lora" not in kept["lora"]
    assert len(kept["lora"]) == schedule.KEPT_PEERS
    assert kept["dora"] == []
    later = [r.contestant for r in runs if r.round == 1]
    assert "trl lora" not in later
    assert "peft dora-bf16" not in later
    assert set(kept["lora"]) <= set(later)
    assert not {c.key for c in ONCE} & set(later)


def test_without_bf16_instructions_no_peer_runs_in_bf16_and_answers_are_in_fp32() -> None:
    seen: list[tuple[str, Any]] = []

    def start(program: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        seen.append((program, settings.get("dtype")))
        return made_up(program, settings)

    runs: list[Run] = []
    kept, _ = peers.all_rounds(1, COMMON, start, runs.append, native=False)
    ran = {run.contestant for run in runs}
    assert {"peft lora-fp32", "peft qlora-fp32", "trl lora-tuned-fp32", "semtune lora"} <= ran
    assert not {c.key for c in CONTESTANTS if c.dtype == "bf16"} & ran
    assert all(kept[name] for name in ("lora", "lora tuned", "qlora", "full"))
    assert {dtype for program, dtype in seen if program in ("predict", "label_scoring")} == {"fp32"}


def test_ctrl_c_leaves_the_whole_rounds() -> None:
    def stopped_in(round_: int) -> peers.Launch:
        def start(program: str, settings: Mapping[str, Any]) -> dict[str, Any]:
            if (program, settings.get("seed")) == ("startup", round_):
                raise KeyboardInterrupt
            return made_up(program, settings)

        return start

    runs: list[Run] = []
    kept, whole = peers.all_rounds(4, COMMON, stopped_in(2), runs.append)
    assert whole == 2
    assert kept == bench(2)[1]
    with pytest.raises(KeyboardInterrupt):
        peers.all_rounds(4, COMMON, stopped_in(0), runs.append)


def test_who_failed_twice_is_not_tried_again() -> None:
    runs, _ = bench(3)
    assert [r.round for r in runs if r.contestant == "semtune qlora-cached"] == [0, 1]


def test_who_failed_once_is_tried_again_to_the_end() -> None:
    def shaky(program: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        failing = program == "startup" and settings["seed"] in (1, 2)
        return {"error": "planted"} if failing else made_up(program, settings)

    runs, _ = bench(4, shaky)
    assert [r.round for r in runs if r.contestant == "semtune start-up"] == [0, 1, 2, 3]
    figure = next(f for f in figures.figures(runs, {}) if f.key == "startup_seconds")
    assert sorted(figure.values) == [0, 3]


def test_the_order_rotates_and_loses_nobody() -> None:
    starts = set()
    for round_ in range(5):
        ordered = schedule.order(CONTESTANTS, round_, 5)
        assert sorted(c.key for c in ordered) == sorted(c.key for c in CONTESTANTS)
        starts.add(ordered[0].key)
    assert len(starts) == 5


def test_keys_are_unique() -> None:
    keys = [c.key for c in (*CONTESTANTS, *ONCE)]
    assert len(keys) == len(set(keys))


def test_the_object_has_every_key_and_is_valid_json_with_failures_as_null() -> None:
    runs, kept = bench(3)
    found = figures.figures(runs, kept)
    result = json.loads(json.dumps(peers.summary(found, runs, kept, ABOUT), allow_nan=False))
    wanted = (
        "train_lora_ratio train_lora_ratio_tuned train_qlora_ratio train_full_ratio qlora_over_lora dora_over_lora "
        "mfu_lora predict_ratio label_scoring_ratio peak_memory_ratio qlora_memory_ratio_1b startup_seconds"
    )
    for key in wanted.split():
        assert result[key] > 0, key
    assert result["train_lora_ratio"] == pytest.approx(5.0)
    assert result["verdicts"]["train_lora_ratio"] == "met"
    assert result["qlora_cached_over_lora"] is None
    assert "nf4-cached" in result["behind"]["qlora_cached_over_lora"]["reason"]
    assert result["failures"][0]["rounds"] == [1, 2]
    assert result["growth"]["seconds"]["milliseconds_per_token"] == pytest.approx(1000 / 9)


def test_tables_show_ratios_verdicts_and_reasons() -> None:
    runs, kept = bench(3)
    found = figures.figures(runs, kept)
    text = peers.tables(found, runs, peers.summary(found, runs, kept, ABOUT))
    row = next(line for line in text.splitlines() if "train_lora_ratio " in line)
    assert "5x" in row
    assert "met" in row
    assert "no value" in next(line for line in text.splitlines() if "qlora_cached_over_lora" in line)
    assert "[nf4-cached]" in text  # no markup
    assert "answers fp32: 2 of 2 identical" in text
    assert "Note: a note" in text
    assert max(len(line) for line in text.splitlines()) <= table.WIDTH + 10


def test_a_bench_in_which_all_fails_is_a_table_of_reasons() -> None:
    runs, kept = bench(2, lambda program, settings: {"error": "planted"})
    found = figures.figures(runs, kept)
    result = peers.summary(found, runs, kept, ABOUT)
    assert {result[figure.key] for figure in found} == {None}
    assert "planted" in peers.tables(found, runs, result)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('noise'); print('{\"a\": 1}')", {"a": 1}),
        ('print(\'{"error": "X: y"}\'); raise SystemExit(1)', {"error": "X: y"}),
        ("raise ValueError('boom')", {"error": "exit status 1, no result; ValueError: boom"}),
        ("print('no json')", {"error": "exit status 0, no result"}),
        ("print('[1]')", {"error": "exit status 0, no result"}),
        ("print('{\"a\": 1}'); raise SystemExit(3)", {"error": "exit status 3, no result"}),
        ("import os; os.kill(os.getpid(), 9)", {"error": "killed by signal 9, no result"}),
    ],
)
def test_whatever_a_contestant_does_becomes_a_result(code: str, expected: dict[str, Any]) -> None:
    assert launch.run([sys.executable, "-c", code], 1, 20) == expected


def test_a_contestant_that_hangs_is_ended() -> None:
    result = launch.run([sys.executable, "-c", "import time; time.sleep(60)"], 1, 0.5)
    assert result == {"error": "not done after 0.5 s"}


def test_reasons_do_not_name_folders_of_this_machine() -> None:
    reason = launch.scrub(f"no file {launch.REPOSITORY / 'x'} nor {Path.home() / 'y'}")
    assert str(launch.REPOSITORY) not in reason
    assert str(Path.home()) not in reason


def test_a_record_is_never_overwritten_and_leaves_answers_out(tmp_path: Path) -> None:
    first = record.new_folder(str(tmp_path / "r"), "bench")
    record.add_run(first, Run("ours", 0, {"answers": ["secret"], "seconds": 1.0}, 2.0))
    row = json.loads((first / "runs.jsonl").read_text())
    assert row == {"contestant": "ours", "round": 0, "result": {"seconds": 1.0}, "wall_seconds": 2.0}
    assert record.new_folder(str(tmp_path / "r"), "bench").name == "r-2"
    assert record.shown(first) == "r"


def test_the_whole_command_prints_one_object_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setting, "prepare", lambda *a, **k: DATA)
    monkeypatch.setattr(launch, "launch", made_up)
    assert peers.main(["--quick", "--out", str(tmp_path / "r"), "--threads", "1"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["rounds"] == schedule.QUICK_ROUNDS
    assert last == json.loads((tmp_path / "r" / "summary.json").read_text())
    assert peers.main(["--json", "--rounds", "1", "--out", str(tmp_path / "r"), "--threads", "1"]) == 0
    only = capsys.readouterr().out
    assert len(only.splitlines()) == 1
    assert json.loads(only)["record"] == "r-2"


def test_the_7b_step_counts_loading_and_the_runtime() -> None:
    measured = {
        "model": "shape:llama-2-7b", "runtime_bytes": 4e8, "load_peak_bytes": 6.6e9, "peak_bytes": 5e9,
        "load_seconds": 60.0, "step_seconds": [9.0, 8.0], "tokens": [356, 356],
    }  # fmt: skip
    result = step_7b.summary(measured)
    assert result["step_7b_peak_bytes"] == 6.6e9
    assert result["step_7b_peak_bytes_above_runtime"] == pytest.approx(6.2e9)
    assert result["verdict"].startswith("missed by 1.5 %")
    assert "6.60" in step_7b.as_table(result)
    failed = step_7b.summary({"error": "killed by signal 9, no result"})
    assert failed["step_7b_peak_bytes"] is None
    assert "killed" in step_7b.as_table(failed)


def test_growth_takes_the_texts_nearest_to_a_size_and_goes_round() -> None:
    assert whole_texts([40, 50, 60], 64) == [0]
    assert whole_texts([40, 50, 60], 90) == [0, 1]
    assert whole_texts([10], 30) == [0, 0, 0]


def test_a_level_of_instructions_holds_for_every_contestant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ})
    parser = argparse.ArgumentParser()
    setting.add_options(parser)
    parser.parse_args(["--isa", "avx2"])
    given = launch.environment(2)
    assert given["SEMTUNE_ISA"] == "avx2"
    assert {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"} <= given.keys()
