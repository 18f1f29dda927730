"""One object of every kind, registered from this folder alone, runs from the command line to the table and the page.

The plugin is named in SEMTUNE_PLUGINS, `semtune study` is a real subprocess, and no file of `src/` knows any of these
names. Where something cannot be registered, a contract is at fault: mend the contract, not this test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..cli.conftest import Semtune, last_json
from ..conftest import REPOSITORY
from .plugin_architecture import RecurrentConfig, RecurrentForCausalLM


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `semtune` process of a test finds the plugin."""
    monkeypatch.setenv("SEMTUNE_PLUGINS", "tests.openness.plugin")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(scope="module")
def recurrent_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny recurrent language model with the tokenizer of `tiny_model`, in transformers' format."""
    folder = tmp_path_factory.mktemp("recurrent") / "gru"
    torch.manual_seed(0)
    backend = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>").save_pretrained(folder)
    config = RecurrentConfig(vocab_size=len(backend.get_vocab()), eos_token_id=0, bos_token_id=None)
    RecurrentForCausalLM(config).save_pretrained(folder)
    return folder


def study_of(semtune: Semtune, folder: Path, **values: Any) -> tuple[dict[str, Any], str, str]:
    """The record, the tables and the page of a study that `semtune study` ran in one process."""
    common = {"epochs": 1, "launcher": "in-process", "threads": 1, "baselines": []}
    file = folder / "study.yaml"
    file.write_text(json.dumps({**common, **values}), encoding="utf-8")  # JSON is YAML
    done = semtune("study", file, "--out", folder / "study")
    record = json.loads((folder / "study" / "study.json").read_text(encoding="utf-8"))
    assert [run["status"] for run in (*record["runs"], *record["baselines"])] == ["ok"] * (
        len(record["runs"]) + len(record["baselines"])
    )
    return record, done.stdout, (folder / "study" / "report.html").read_text(encoding="utf-8")


def test_methods_quantisation_readout_strategy_baseline_and_launcher(
    semtune: Semtune, tiny_model: Path, reviews: Path, tmp_path: Path
) -> None:
    record, tables, page = study_of(
        semtune, tmp_path, task="table",
        task_options={"data": str(reviews), "text_column": "comment", "label_column": "mood"},
        model=str(tiny_model), methods=["parallel-branch", "learned-prefix", "lora"], readouts=["two-layer-head"],
        strategies=["likeliest-label"], baselines=["longest-text"],
        overrides={
            "parallel-branch": {"width": 3}, "learned-prefix": {"length": 2}, "lora": {"precision": "rowwise-int8"},
        },
    )  # fmt: skip
    names = ("parallel-branch", "learned-prefix", "lora", "likeliest-label")
    assert tuple(run["name"] or run["method"] for run in record["runs"]) == names
    for name in (*names, "longest-text", "two-layer-head"):
        assert name in tables and name in page
    branch, prefix, lora, prompted = record["runs"]
    # Two layers of width 64: a branch of 2·64·3 and a bias of 64 in each; a head of 64·8 + 8 + 8·2 + 2.
    assert branch["trainable_parameters"] == 2 * (2 * 64 * 3 + 64) + 64 * 8 + 8 + 8 * 2 + 2
    # Keys and values of 2 positions, 2 kv heads of 16.
    assert prefix["trainable_parameters"] == 2 * 2 * 2 * 2 * 16 + 64 * 8 + 8 + 8 * 2 + 2
    assert "weights rounded to 8 bits a row" in lora["notes"]
    assert prompted["trainable_parameters"] in (0, None)
    assert all(run["peak_bytes"]["train"] > 0 for run in (branch, prefix, lora))
    assert all(run["predicted_peak_bytes"]["train"] > 0 for run in (branch, prefix, lora)), "plans know them too"
    (baseline,) = record["baselines"]
    assert baseline["train_seconds"] is not None and baseline["peak_bytes"]["evaluate"] > 0
    for run in record["runs"]:
        (answer,) = last_json(semtune("predict", tmp_path / "study" / run["out"], "warm soup", "--json"))
        assert answer["labels"][0] in ("bad", "good")


@pytest.mark.parametrize(
    ("task", "prompt", "metric", "title"),
    [("colour-spans", "offsets", "exact_spans", "exact spans"), ("reversal", "arrow", "character_errors", "character")],
)
def test_tasks_of_spans_and_of_free_text(
    task: str, prompt: str, metric: str, title: str, semtune: Semtune, tiny_model: Path, tmp_path: Path
) -> None:
    record, tables, page = study_of(
        semtune, tmp_path, task=task, model=str(tiny_model), methods=["lora"], prompts=[prompt], readouts=["generate"],
        max_new_tokens=12, epochs=2,
    )  # fmt: skip
    (run,) = record["runs"]
    assert record["metrics"][0]["name"] == metric
    assert run["scores"]["test"]["primary"] == metric
    assert title in tables and title in page
    lines = [json.loads(x) for x in (tmp_path / "study" / run["out"] / "metrics.jsonl").read_text().splitlines()]
    dev = [line[f"dev_{metric}"] for line in lines if line["kind"] == "epoch"]
    best = min(dev) if metric == "character_errors" else max(dev)
    assert run["best_epoch"] == dev.index(best) + 1, "the better epoch is kept, where lower is better too"
    (answer,) = last_json(semtune("predict", tmp_path / "study" / run["out"], "the red door", "--json"))
    assert ("spans" in answer) == (task == "colour-spans")
    refused = semtune("tune", "--task", task, "--model", tiny_model, "--out", tmp_path / "other", check=2)
    assert "head" in refused.stderr or "report" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_architecture_whose_cache_is_a_state(semtune: Semtune, recurrent_model: Path, tmp_path: Path) -> None:
    reviews = tmp_path / "few.csv"  # it runs token by token
    rows = [f"warm {i},good\ncold {i},bad" for i in range(8)]
    reviews.write_text("\n".join(["comment,mood", *rows]) + "\n", encoding="utf-8")
    record, tables, page = study_of(
        semtune, tmp_path, task="table",
        task_options={"data": str(reviews), "text_column": "comment", "label_column": "mood"},
        model=str(recurrent_model), methods=["lora"], readouts=["generate-constrained", "loglikelihood"],
    )  # fmt: skip
    assert len(record["runs"]) == 2
    assert "loglikelihood" in tables and "generate-constrained" in page
    for run in record["runs"]:
        assert run["scores"]["test"]["parse_failures"] == 0
        (answer,) = last_json(semtune("predict", tmp_path / "study" / run["out"], "warm soup", "--json"))
        assert answer["labels"][0] in ("bad", "good")
    attached = semtune(
        "tune", "--task", "table", "--data", reviews, "--text-column", "comment", "--label-column", "mood", "--model",
        recurrent_model, "--method", "learned-prefix", "--out", tmp_path / "none", check=None,
    )  # fmt: skip
    assert attached.returncode != 0, "a model without attention has no place for learned keys and values"


def test_the_names_are_listed_with_their_options(semtune: Semtune) -> None:
    methods = semtune("list", "methods", "--options").stdout
    assert "parallel-branch" in methods and "Width of the branch" in methods and "positions" in methods
    for kind, name in (
        ("tasks", "reversal"), ("prompts", "offsets"), ("readouts", "two-layer-head"), ("baselines", "longest-text"),
        ("strategies", "likeliest-label"), ("launchers", "in-process"), ("quantizations", "rowwise-int8"),
        ("architectures", "toy-recurrent"),
    ):  # fmt: skip
        assert name in semtune("list", kind).stdout
