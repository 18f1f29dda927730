"""`semtune plan` and `tune --fit` in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Semtune, last_json

FIELDS = {
    "method", "fits", "spill_bytes", "peak_bytes", "seconds_per_iteration", "train_seconds", "advice", "largest",
    "reason", "cache_bytes", "seconds_per_example", "predict_seconds",
}  # fmt: skip


def test_a_seven_billion_model_on_a_12_gb_card(semtune: Semtune) -> None:
    names = "full,lora,qlora"
    done = semtune(
        "plan", "--model", "meta-llama/Llama-2-7b-hf", "--task", "practice", "--device", "12GB", "--json",
        "--method", names,
    )  # fmt: skip
    plans = {p["method"]: p for p in last_json(done)}
    expected = {"full": False, "lora": False, "qlora": True}
    assert {name: plans[name]["fits"] for name in expected} == expected
    assert plans.keys() == set(names.split(","))
    assert all(set(p) == FIELDS for p in plans.values())
    assert all(set(p["peak_bytes"]) == {"load", "train", "evaluate"} for p in plans.values())
    assert any(a["change"].get("precision") == "nf4" for a in plans["lora"]["advice"])


def test_with_memory_to_spill_into(semtune: Semtune) -> None:
    done = semtune("plan", "--model", "shape:llama-2-7b", "--device", "12GB+32GB", "--method", "full,lora", "--json")
    full, lora = last_json(done)
    assert (full["fits"], full["spill_bytes"]) == (False, 0)
    assert not lora["fits"]
    assert 1e9 < lora["spill_bytes"] < 13e9


def test_one_method_at_a_given_length(semtune: Semtune) -> None:
    done = semtune(
        "plan", "--model", "shape:llama-3.2-1b", "--method", "qlora", "--batch-size", 8, "--max-length", 512, "--json"
    )
    (plan,) = last_json(done)
    assert plan["method"] == "qlora"
    assert plan["seconds_per_iteration"] > 0


def test_the_table_says_what_is_assumed(semtune: Semtune, tiny_model: Path) -> None:
    out = semtune("plan", "--model", tiny_model, "--device", "rtx-3090", "--method", "lora").stdout
    assert "lora" in out
    assert "not measured" in out
    assert "texts of practice" in out


def test_a_config_is_enough(semtune: Semtune, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    done = semtune("plan", "--model", folder, "--method", "lora", "--max-length", 64, "--json")
    assert last_json(done)[0]["fits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "13XB"], 'There is no device "13XB"'),
        (["--model", "shape:llama-2-7B"], 'did you mean "llama-2-7b"'),
        (["--model", "bare"], "config.json"),
        (["--model", "shape:llama-2-7b", "--method", "lorra"], 'did you mean "lora"'),
        (["--model", "shape:llama-2-7b", "--method", "lora", "--targets", "q_prj"], "matches no linear layer"),
        (["--model", "shape:llama-2-7b", "--method", "full", "--precision", "nf4"], "cannot train 4-bit weights"),
        (["--method", ","], "names no method"),
        (["--task", "practise"], 'did you mean "practice"'),
    ],
)
def test_wrong_use(semtune: Semtune, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "bare").mkdir()
    done = semtune("plan", *arguments, "--max-length", 64, check=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_method_that_cannot_is_a_row_among_others(semtune: Semtune, tiny_model: Path) -> None:
    done = semtune(
        "plan", "--model", tiny_model, "--precision", "nf4", "--max-length", 64, "--json", "--method", "full,qlora"
    )  # fmt: skip
    plans = {p["method"]: p for p in last_json(done)}
    assert "4-bit" in plans["full"]["reason"]
    assert plans["qlora"]["reason"] is None


def test_fit_leaves_alone_what_fits(semtune: Semtune, tiny_model: Path, reviews: Path, tmp_path: Path) -> None:
    done = semtune(
        "tune", "--task", "table", "--data", reviews, "--text-column", "comment", "--label-column", "mood",
        "--model", tiny_model, "--epochs", 1, "--fit", "--json", "--out", tmp_path / "run",
    )  # fmt: skip
    assert "--fit changed nothing" in done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["status"] == "ok"
    assert set(result["predicted_peak_bytes"]) == {"load", "train", "evaluate"}
    assert result["predicted_seconds_per_iteration"] > 0


def test_prompting_strategies(semtune: Semtune, tiny_model: Path, reviews: Path) -> None:
    done = semtune(
        "plan", "--approach", "prompted", "--strategy", "zero-shot,knn-vote", "--model", tiny_model, "--json",
        "--task", "table", "--data", reviews, "--text-column", "comment", "--label-column", "mood",
    )  # fmt: skip
    asks, votes = last_json(done)
    assert set(asks) == FIELDS
    assert asks["fits"]
    assert 0 < asks["cache_bytes"] < asks["peak_bytes"]["evaluate"]
    assert asks["predict_seconds"] > asks["seconds_per_example"] > 0
    assert votes["method"] == "knn-vote"
    assert "just run it" in votes["reason"]


def test_a_strategy_is_not_for_tuning(semtune: Semtune) -> None:
    done = semtune("plan", "--approach", "tuned", "--strategy", "zero-shot", check=2)
    assert "leave --strategy or --approach tuned out" in " ".join(done.stderr.split())
