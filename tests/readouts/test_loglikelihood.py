"""Labels by likelihood: what the contract suite does not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from semtune.errors import ModelError
from semtune.readouts.loglikelihood import LogLikelihood
from semtune.records import Example, LabelSet

from ..generation.test_loglikelihood import one_by_one
from ..toys import EXAMPLES, LABELS, ONE_EACH, micro_f1_threshold, toy_loaded, toy_readout


def completions(readout, answers) -> list[list[int]]:
    tokenized = [readout.encode(Example("1", "text", LabelSet(labels))) for labels in answers]
    return [list(e.ids[e.prompt_length :]) for e in tokenized]


def prompts(readout, examples) -> list[list[int]]:
    tokenized = [readout.encode(e) for e in examples]
    return [list(e.ids[: e.prompt_length]) for e in tokenized]


def test_probabilities_are_shares_of_the_likelihoods_of_all_labels_and_none() -> None:
    readout = toy_readout("loglikelihood", toy_loaded(), max_length=500)
    answers = completions(readout, [*((label,) for label in LABELS), ()])
    expected = one_by_one(prompts(readout, EXAMPLES), answers).softmax(-1)
    for prediction, row in zip(readout.answer(EXAMPLES), expected.tolist(), strict=True):
        assert list(prediction.probabilities) == list(LABELS)
        assert list(prediction.probabilities.values()) == pytest.approx(row[:-1], abs=1e-6)
        assert prediction.labels == tuple(la for la, p in zip(LABELS, row, strict=False) if p >= 0.5)
        assert prediction.parsed


def test_single_label_is_the_likeliest() -> None:
    readout = toy_readout("loglikelihood", toy_loaded(), kind="single_label")
    likelihoods = one_by_one(prompts(readout, ONE_EACH), completions(readout, [(label,) for label in LABELS]))
    assert [p.labels for p in readout.answer(ONE_EACH)] == [(LABELS[i],) for i in likelihoods.argmax(-1).tolist()]


def test_threshold_is_chosen_on_dev_and_kept(tmp_path: Path) -> None:
    readout = toy_readout("loglikelihood", toy_loaded())
    readout.calibrate(EXAMPLES, micro_f1_threshold)
    assert 0 < readout.threshold < 1 and readout.threshold != 0.5
    readout.save(tmp_path)
    fresh = toy_readout("loglikelihood", toy_loaded())
    fresh.load(tmp_path)
    assert fresh.threshold == readout.threshold


def test_broken_or_foreign_thresholds_are_refused(tmp_path: Path) -> None:
    readout = toy_readout("loglikelihood", toy_loaded())
    with pytest.raises(ModelError, match="missing"):
        readout.load(tmp_path)
    (tmp_path / LogLikelihood.state_file).write_text(json.dumps({"labels": list(LABELS)}))
    with pytest.raises(ModelError, match="broken"):
        readout.load(tmp_path)
    (tmp_path / LogLikelihood.state_file).write_text(json.dumps({"labels": ["other"], "threshold": 0.1}))
    with pytest.raises(ModelError, match="other labels"):
        readout.load(tmp_path)


def test_a_model_that_was_taught_scores_what_it_was_taught() -> None:
    loaded = toy_loaded()
    readout = toy_readout("loglikelihood", loaded, kind="single_label")
    texts = [readout.encode(e) for e in ONE_EACH]
    optimizer = torch.optim.Adam(loaded.model.parameters(), lr=5e-3)
    for _ in range(40):
        loss, num_targets = readout.loss(texts)
        optimizer.zero_grad()
        (loss / num_targets).backward()
        optimizer.step()
    assert [p.labels for p in readout.answer(ONE_EACH)] == [e.labels for e in ONE_EACH]


def test_a_threshold_saved_under_the_former_name_is_read(tmp_path: Path) -> None:
    """Run folders of the version before hold label-scores.json."""
    state = {"labels": list(LABELS), "threshold": 0.125}
    (tmp_path / "label-scores.json").write_text(json.dumps(state), encoding="utf-8")
    readout = toy_readout("label-scores", toy_loaded())
    readout.load(tmp_path)
    assert (readout.name, readout.threshold) == ("loglikelihood", 0.125)
    readout.save(tmp_path)
    assert json.loads((tmp_path / "loglikelihood.json").read_text(encoding="utf-8")) == state
