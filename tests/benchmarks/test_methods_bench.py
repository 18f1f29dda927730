"""`benchmarks/methods.py` with contestants that are made up, and the batches that both sides run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmarks.clock import Clock
from benchmarks.contestants import common, peft_methods
from benchmarks.methods_schedule import ABSENT, COMPARISONS, FUSED, PROBE, PROBE_REFERENCE, contestants, targets
from benchmarks.ratios import Run, run_seconds, share_of_training_state

from benchmarks import launch, methods, methods_figures, ratios, setting
from semtune.registry import METHODS

DATA = {"task": "practice", "texts": 3, "mean_tokens_per_text": 40.0, "notes": ["a note"]}
LENGTHS = [10 + 7 * i % 23 for i in range(64)]
SETTINGS = common.Settings(work="", variant="lora", threads=1, warmup_steps=0, timed_steps=3)


def made_up(program: str, settings: Mapping[str, Any], timeout: float = 1.0) -> dict[str, Any]:
    """Ours at 60 tokens a second, peers at 20 and twice the memory; transformers' biases at 25; IA3's peer fails."""
    if program == "surroundings":
        return {}
    if program == "epochs_run":
        whole = {"train_seconds": 5.0}
        sampled = {"tokens": [100], "step_seconds": [2.0], "first_seconds": [2.0], "run_tokens": 7500}
        return whole if settings["variant"] == "linear-probe" else sampled
    if settings["variant"] == "ia3" and program == "peft_methods":
        return {"error": "planted"}
    speed = 60.0 if program == "method_step" else 25.0 if settings["variant"] == "biases" else 20.0
    peak = 500 if program == "method_step" else 600
    return {"tokens": [100], "step_seconds": [100 / speed], "runtime_bytes": 400, "peak_bytes": peak, "parameters": 8}


def run_all(rounds: int = 2, seconds: float | None = None) -> tuple[list[Run], str]:
    runs: list[Run] = []
    everyone = contestants(native_bf16=False)
    settings = {"work": "w", "threads": 1}
    return runs, methods.all_rounds(everyone, rounds, settings, made_up, runs.append, Clock(seconds))


def test_ratios_are_within_a_round_and_over_the_faster_peer() -> None:
    runs, ended = run_all()
    found = {figure.key: figure for figure in methods_figures.figures(runs)}
    assert ended == "done"
    assert found["train_prefix_ratio"].values == pytest.approx({0: 3.0, 1: 3.0})
    assert found["train_bitfit_ratio"].value == pytest.approx(60 / 25)
    assert found["train_bitfit_ratio"].against == "transformers biases"
    assert found["memory_bitfit_ratio"].against == "transformers biases"
    assert found["memory_prefix_ratio"].value == pytest.approx(0.5)
    assert found["train_ia3_ratio"].reason == "peft ia3: planted"
    assert found["linear_probe_speedup"].value == pytest.approx(30.0)
    assert found["full_fused_over_state"].value == pytest.approx(100 / 96)
    assert [run.round for run in runs if run.contestant == "peft beft"] == [0]  # screened out: 20 against 25


def test_every_target_has_its_figure_and_depends_on_bf16() -> None:
    keys = {figure.key for figure in methods_figures.figures([])}
    assert set(targets(native_bf16=True)) <= keys
    assert targets(native_bf16=True)["train_qdora_ratio"].bound == 2.5
    assert targets(native_bf16=False)["train_qdora_ratio"].bound == 2.0
    assert targets(native_bf16=False)["memory_ia3_ratio"].met(0.7)
    assert "train_ln_tuning_ratio" not in targets(native_bf16=True)
    assert all(figure.value is None and figure.reason for figure in methods_figures.figures([]))


def test_every_method_is_compared_or_absent_with_a_reason() -> None:
    compared = {pair.method for pair in COMPARISONS}
    bench = {"full", "qlora", "dora"}  # those of `peers.py`
    assert compared | set(ABSENT) | {"linear-probe"} | bench == set(METHODS)
    assert not compared & set(ABSENT)
    assert {name for pair in COMPARISONS for name in pair.peers} == set(peft_methods.VARIANTS)


@pytest.mark.parametrize(("native", "dtype"), [(True, "bf16"), (False, "fp32")])
def test_peers_run_in_the_dtype_that_the_machine_multiplies(native: bool, dtype: str) -> None:
    peers = [c for c in contestants(native_bf16=native) if c.program == "peft_methods"]
    assert peers
    assert {c.settings["dtype"] for c in peers} == {dtype}


def test_both_sides_run_the_same_batches_the_timed_ones_twice() -> None:
    batches = common.same_batches(LENGTHS, SETTINGS)
    assert len(batches) == SETTINGS.total_steps == 8
    assert batches[0] == batches[1] == common.reference_batch(LENGTHS, 8)
    assert batches[2:5] == batches[5:]
    assert len({tuple(batch) for batch in batches[2:5]}) == 3
    assert all(len(batch) == 8 for batch in batches)
    assert batches == common.same_batches(LENGTHS, SETTINGS)
    assert batches[2:] != common.same_batches(LENGTHS, common.Settings("", "lora", 1, seed=1, timed_steps=3))[3:]


def test_a_run_of_epochs_is_its_tokens_at_the_speed_of_its_steps() -> None:
    sampled = {"tokens": [50, 50], "step_seconds": [1.0, 1.0], "run_tokens": 1000}
    assert run_seconds(sampled) == pytest.approx(20.0)
    assert run_seconds({"train_seconds": 3.0}) == 3.0


def test_state_of_full_tuning_is_twelve_bytes_a_weight() -> None:
    assert share_of_training_state({"peak_bytes": 1730, "runtime_bytes": 410, "parameters": 100}) == 1.1


def test_at_the_limit_of_seconds_nothing_more_begins() -> None:
    now = iter_clock([0.0, 0.0, 0.0, 40.0, 70.0, 75.0])
    clock = Clock(100.0, now)
    assert clock.allows("a")
    with clock.running("a"):
        pass
    assert not clock.allows("b")  # as long as the longest so far: 40 s, of which 30 are left
    assert clock.left() == 25.0
    assert Clock(None).left() == float("inf")


def iter_clock(times: list[float]) -> Any:
    pending: Iterator[float] = iter(times)
    return lambda: next(pending)


def test_what_was_run_before_the_limit_has_figures() -> None:
    runs, ended = run_all(seconds=1e-9)
    assert runs == []
    assert ended.startswith("no time left for semtune lora in round 1")


def test_the_whole_command_writes_its_record_and_prints_one_object_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setting, "prepare", lambda *a, **k: DATA)
    monkeypatch.setattr(launch, "launch", made_up)
    arguments = ["--rounds", "1", "--out", str(tmp_path / "r"), "--threads", "1"]
    assert methods.main([*arguments, "--methods", "ia3,bitfit,linear-probe"]) == 0
    out = capsys.readouterr().out
    last = json.loads(out.splitlines()[-1])
    assert last == json.loads((tmp_path / "r" / "summary.json").read_text())
    assert last["train_bitfit_ratio"] == pytest.approx(2.4)
    assert last["verdicts"]["linear_probe_speedup"] == "met"
    assert last["failures"] == [{"contestant": "peft ia3", "rounds": [1], "reason": "planted"}]
    assert last["train_prefix_ratio"] is None
    assert "qa-lora is not compared" in out
    ran = [json.loads(line)["contestant"] for line in (tmp_path / "r" / "runs.jsonl").read_text().splitlines()]
    assert set(ran) == {
        "semtune ia3", "peft ia3", "semtune bitfit", "peft beft", "transformers biases", PROBE, PROBE_REFERENCE
    }  # fmt: skip
    assert FUSED not in ran


def test_ctrl_c_keeps_figures_of_what_was_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(program: str, settings: Mapping[str, Any], timeout: float = 1.0) -> dict[str, Any]:
        if settings["variant"] == "ia3":
            raise KeyboardInterrupt
        return made_up(program, settings)

    monkeypatch.setattr(setting, "prepare", lambda *a, **k: DATA)
    monkeypatch.setattr(launch, "launch", interrupted)
    assert methods.main(["--out", str(tmp_path / "r"), "--threads", "1"]) == 130
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["ended"] == "stopped"
    assert last["train_lora_ratio"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "qa-lora"], "qa-lora has no peer: PEFT has it only over"),
        (["--methods", "lroa"], "no method lroa; choose of lora, ia3"),
        (["--rounds", "0"], "must be at least 1"),
    ],
)
def test_options_are_checked(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        methods.read_options(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_ratio_needs_both_sides_in_one_round() -> None:
    """The reason of a figure that a stop has left without a peer names who is missing."""
    figure = ratios.ratio("k", [Run("semtune ia3", 0, {"peak_bytes": 2, "runtime_bytes": 1})], "semtune ia3",
                          "peft ia3", ratios.step_peak_bytes)  # fmt: skip
    assert figure.reason == "peft ia3 was not run"
