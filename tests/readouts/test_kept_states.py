"""The head over a frozen model, whose hidden states are kept: beside training without that, and scikit-learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from semtune.methods.linear_probe import LINEAR_PROBE
from semtune.models.loaded import TransformersModel
from semtune.readouts.head import Head
from semtune.registry import METHODS

from ..toys import EXAMPLES, ONE_EACH, micro_f1_threshold, tokenized, toy_loaded, toy_model, toy_readout


class Counting(TransformersModel):
    """Records the texts of every forward, and whether the model was in training mode."""

    forwards: list[tuple[int, bool]]

    def hidden_states(self, input_ids, batch, query_indices: Sequence[int] | None = None) -> torch.Tensor:
        self.forwards.append((len(batch.lengths), self.model.training))
        return super().hidden_states(input_ids, batch, query_indices)


def probed(kind: str = "label_set", method: str = "linear-probe", **changes: object) -> tuple[Head, Counting]:
    """A head over a toy model to which the method is attached."""
    loaded = toy_loaded()
    counting = Counting(**{f.name: getattr(loaded, f.name) for f in dataclasses.fields(TransformersModel)})
    counting.forwards = []
    readout = toy_readout("head", counting, kind=kind, **changes)
    METHODS.get(method).attach(counting, METHODS.get(method).presets["default"])
    return readout, counting


def train(readout: Head, loaded: Counting, examples, epochs: int) -> list[float]:
    """Losses of epochs of two batches each, with dev predicted after each; the order differs between epochs."""
    readout.prepare(examples)
    texts = tokenized(readout, examples)
    optimizer = torch.optim.AdamW(readout.trainable().values(), lr=1e-2)
    losses = []
    for epoch in range(epochs):
        loaded.model.train()
        order = np.random.default_rng(epoch).permutation(len(texts))
        for batch in np.array_split(order, 2):
            optimizer.zero_grad()
            loss, _ = readout.loss([texts[i] for i in batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        loaded.model.eval()
        readout.calibrate(examples[:2], micro_f1_threshold)
    return losses


@pytest.mark.parametrize("kind", ["label_set", "single_label"])
def test_training_is_the_same_as_without_kept_states(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = EXAMPLES if kind == "label_set" else ONE_EACH
    kept, loaded = probed(kind)
    losses = train(kept, loaded, examples, 10)
    monkeypatch.setattr("semtune.readouts.head.is_frozen", lambda model: False)
    computed, other = probed(kind)
    assert train(computed, other, examples, 10) == pytest.approx(losses, abs=1e-12, rel=1e-12)
    assert len(other.forwards) > 2 * len(loaded.forwards)
    for name, parameter in computed.trainable().items():
        torch.testing.assert_close(parameter, kept.trainable()[name], atol=1e-12, rtol=0)
    for a, b in zip(kept.answer(examples), computed.answer(examples), strict=True):
        assert a.labels == b.labels


def test_the_model_runs_once_for_each_text_of_training_and_dev_without_dropout() -> None:
    readout, loaded = probed()
    train(readout, loaded, EXAMPLES, 10)
    assert sum(texts for texts, _ in loaded.forwards) == len(EXAMPLES)  # dev's are two of them
    assert not any(training for _, training in loaded.forwards)
    loaded.model.train()
    readout.loss(tokenized(readout))
    assert loaded.model.training, "the mode is put back"


def test_nothing_is_kept_of_texts_that_are_only_predicted_and_of_models_that_are_trained() -> None:
    readout, loaded = probed()
    readout.answer(EXAMPLES)
    readout.answer(EXAMPLES)
    assert sum(texts for texts, _ in loaded.forwards) == 2 * len(EXAMPLES)
    assert readout.kept_bytes_per_example == 32 * 8
    readout, loaded = probed(method="ln-tuning")
    train(readout, loaded, EXAMPLES, 2)
    assert sum(texts for texts, _ in loaded.forwards) == 2 * (len(EXAMPLES) + 2)
    assert readout.kept_bytes_per_example == 0


def test_the_optimum_is_scikit_learns() -> None:
    """With the same L2 penalty, over features that stock transformers computes one text at a time."""
    readout, _ = probed("single_label", labels=("no", "yes"))
    examples = [dataclasses.replace(e, target=type(e.target)("yes" if i % 2 else "no")) for i, e in enumerate(ONE_EACH)]
    readout.prepare(examples)
    texts = tokenized(readout, examples)
    features = np.stack(
        [toy_model().base_model(torch.tensor([t.ids])).last_hidden_state[0, -1].detach().numpy() for t in texts]
    )
    weight, bias = readout.trainable()["head.weight"], readout.trainable()["head.bias"]
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = readout.loss(texts)[0] + 0.5 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    # The two rows of a softmax with a penalty on both are w and -w: one row of 2w, whose penalty is half as strong.
    expected = LogisticRegression(C=2.0, tol=1e-12, solver="newton-cholesky")
    expected.fit(features, [i % 2 for i in range(len(texts))])
    found = (weight[1] - weight[0]).detach().numpy()
    np.testing.assert_allclose(found, expected.coef_[0], atol=1e-6)
    assert (bias[1] - bias[0]).item() == pytest.approx(expected.intercept_[0], abs=1e-6)


def test_the_probe_trains_no_parameter_of_the_model() -> None:
    loaded = toy_loaded()
    LINEAR_PROBE.attach(loaded, LINEAR_PROBE.presets["default"])
    assert LINEAR_PROBE.trainable(loaded.model) == {}
    assert not any(p.requires_grad for p in loaded.model.parameters())
