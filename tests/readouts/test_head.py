"""The classification head, against scikit-learn, plain formulas, and brute force for the threshold."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss

from semtune.errors import ModelError
from semtune.readouts.head import WEIGHTS, Head
from semtune.records import Example
from semtune.tasks.scoring import best_micro_f1_threshold

from ..toys import EXAMPLES, LABELS, ONE_EACH, micro_f1_threshold, tokenized, toy_loaded, toy_model, toy_readout


def randomised(readout, seed: int = 1):
    """The readout with weights that tell texts apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in readout.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / 4)
    return readout


def expected_scores(readout, examples: list[Example]) -> torch.Tensor:
    """(texts, labels) by stock transformers, one text at a time."""
    parameters = readout.trainable()
    rows = []
    for text in tokenized(readout, examples):
        hidden = toy_model().base_model(torch.tensor([text.ids])).last_hidden_state[0, -1]
        rows.append(parameters["head.weight"] @ hidden + parameters["head.bias"])
    return torch.stack(rows).detach()


def test_multi_label_loss_is_the_sum_of_log_losses() -> None:
    readout = randomised(toy_readout("head", toy_loaded()))
    loss, num_targets = readout.loss(tokenized(readout))
    probabilities = expected_scores(readout, EXAMPLES).sigmoid().numpy()
    gold = np.array([[label in (e.labels or ()) for label in LABELS] for e in EXAMPLES])
    expected = sum(
        log_loss(gold[:, i], probabilities[:, i], normalize=False, labels=[0, 1]) for i in range(len(LABELS))
    )
    assert num_targets == len(EXAMPLES)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_single_label_loss_is_cross_entropy() -> None:
    readout = randomised(toy_readout("head", toy_loaded(), kind="single_label"))
    loss, num_targets = readout.loss(tokenized(readout, ONE_EACH))
    probabilities = expected_scores(readout, ONE_EACH).softmax(-1).numpy()
    gold = [LABELS.index(e.labels[0]) for e in ONE_EACH]
    assert num_targets == len(ONE_EACH)
    assert loss.item() == pytest.approx(log_loss(gold, probabilities, normalize=False, labels=range(5)), rel=1e-10)


def test_labels_are_no_part_of_what_the_head_reads() -> None:
    readout = toy_readout("head", toy_loaded())
    for example, text in zip(EXAMPLES, tokenized(readout), strict=True):
        assert readout.loaded.tokenizer.decode(text.ids) == example.text + " <tech:>"
        assert readout.encode(Example(example.id, example.text, None)).ids == text.ids


def test_prepared_head_predicts_frequencies() -> None:
    """Before training: one count added to each label, and one to its absence."""
    readout = toy_readout("head", toy_loaded())
    readout.prepare(EXAMPLES)
    counts = {label: sum(label in e.labels for e in EXAMPLES) for label in LABELS}
    for prediction in readout.answer(EXAMPLES):
        assert prediction.probabilities == {
            label: pytest.approx((counts[label] + 1) / (len(EXAMPLES) + 2), abs=1e-6) for label in LABELS
        }


def test_prepared_head_predicts_shares_where_one_label_applies() -> None:
    readout = toy_readout("head", toy_loaded(), kind="single_label")
    readout.prepare(ONE_EACH)
    counts = [1 + sum(e.labels == (label,) for e in ONE_EACH) for label in LABELS]
    for prediction in readout.answer(ONE_EACH):
        shares = [count / sum(counts) for count in counts]
        assert list(prediction.probabilities.values()) == pytest.approx(shares, abs=1e-6)


def test_answers_are_the_labels_at_or_above_the_threshold() -> None:
    readout = randomised(toy_readout("head", toy_loaded()))
    probabilities = expected_scores(readout, EXAMPLES).sigmoid()
    readout.threshold = 0.4
    for prediction, row in zip(readout.answer(EXAMPLES), probabilities, strict=True):
        assert prediction.labels == tuple(label for label, p in zip(LABELS, row, strict=True) if p >= 0.4)
        assert list(prediction.probabilities.values()) == pytest.approx(row.tolist(), abs=1e-6)
        assert prediction.parsed


def test_exactly_one_label_where_one_applies() -> None:
    readout = randomised(toy_readout("head", toy_loaded(), kind="single_label"))
    probabilities = expected_scores(readout, ONE_EACH).softmax(-1)
    for calibrated in (readout.calibrate(ONE_EACH, micro_f1_threshold), readout.answer(ONE_EACH)):
        assert [p.labels for p in calibrated] == [(LABELS[i],) for i in probabilities.argmax(-1)]
        assert all(sum(p.probabilities.values()) == pytest.approx(1, abs=1e-5) for p in calibrated)
    assert len({p.labels for p in calibrated}) > 1


def brute_force(probabilities: np.ndarray, gold: np.ndarray) -> tuple[float, float]:
    """The best micro-F1 that any threshold gives, and how near one half a threshold that gives it can be."""
    values = sorted({0.0, *probabilities.ravel().tolist()})
    middles = [(a + b) / 2 for a, b in itertools.pairwise(values)]
    scores = {m: f1_score(gold, probabilities >= m, average="micro", zero_division=0) for m in middles}
    best = max(scores.values())
    return best, min(abs(m - 0.5) for m, score in scores.items() if score >= best - 1e-9)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_threshold_is_the_best_one(data: st.DataObject) -> None:
    """Ties in the probabilities included: a cut cannot go between equals."""
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 3))
    hundredths = data.draw(st.lists(st.integers(1, 99), min_size=rows * columns, max_size=rows * columns))
    probabilities = np.array(hundredths).reshape(rows, columns) / 100
    flags = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    gold = np.array(flags).reshape(rows, columns)
    threshold = best_micro_f1_threshold(probabilities, gold)
    best, distance = brute_force(probabilities, gold)
    assert f1_score(gold, probabilities >= threshold, average="micro", zero_division=0) == pytest.approx(best)
    assert abs(threshold - 0.5) == pytest.approx(distance)
    assert np.abs(probabilities - threshold).min() > 1e-3


def test_calibrating_chooses_the_threshold_and_answers_with_it() -> None:
    readout = randomised(toy_readout("head", toy_loaded()))
    answered = readout.calibrate(EXAMPLES, micro_f1_threshold)
    probabilities = expected_scores(readout, EXAMPLES).sigmoid().numpy()
    gold = np.array([[label in e.labels for label in LABELS] for e in EXAMPLES])
    said = np.array([[label in p.labels for label in LABELS] for p in answered])
    assert f1_score(gold, said, average="micro") == pytest.approx(brute_force(probabilities, gold)[0])
    assert readout.threshold != 0.5
    assert readout.answer(EXAMPLES) == answered


def test_calibrating_on_nothing_changes_nothing() -> None:
    readout = toy_readout("head", toy_loaded())
    assert readout.calibrate([], micro_f1_threshold) == []
    assert readout.threshold == 0.5


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    readout = randomised(toy_readout("head", toy_loaded()))
    readout.calibrate(EXAMPLES, micro_f1_threshold)
    readout.save(tmp_path / "head")
    return tmp_path / "head"


def test_saved_head_answers_the_same(saved: Path) -> None:
    original = randomised(toy_readout("head", toy_loaded()))
    original.calibrate(EXAMPLES, micro_f1_threshold)
    loaded = toy_readout("head", toy_loaded())
    loaded.load(saved)
    assert loaded.threshold == original.threshold
    assert loaded.answer(EXAMPLES) == original.answer(EXAMPLES)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"labels": 3}', "null", '{"labels": [], "threshold": 0.5}'])
def test_broken_state_is_one_clear_error(saved: Path, content: str) -> None:
    (saved / Head.state_file).write_text(content)
    with pytest.raises(ModelError, match="tune again"):
        toy_readout("head", toy_loaded()).load(saved)


def test_cut_short_missing_or_other_weights_are_one_clear_error(saved: Path) -> None:
    fewer = toy_readout("head", toy_loaded(), labels=LABELS[:2])
    with pytest.raises(ModelError, match="other labels"):
        fewer.load(saved)
    (saved / Head.state_file).write_text(json.dumps({"labels": list(LABELS[:2]), "threshold": 0.5}))
    with pytest.raises(ModelError, match="tune again"):
        fewer.load(saved)
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(ModelError, match="tune again"):
        fewer.load(saved)
    (saved / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="tune again"):
        fewer.load(saved)


def test_head_of_a_bf16_model_is_fp32() -> None:
    readout = toy_readout("head", toy_loaded(dtype=torch.bfloat16))
    assert {p.dtype for p in readout.trainable().values()} == {torch.float32}
    assert math.isfinite(readout.loss(tokenized(readout))[0].item())
