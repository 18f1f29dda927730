"""What every registered readout must do, whichever it is, and whichever method is attached."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semtune.records import Example, LabelSet
from semtune.registry import METHODS, READOUTS

from ..combinations import COMBINATIONS
from ..toys import EXAMPLES, LABELS, ONE_EACH, micro_f1_threshold, tokenized, toy_loaded, toy_readout

every_readout = pytest.mark.parametrize("name", list(READOUTS))
every_answer = pytest.mark.parametrize(
    ("answer", "examples"), [("label_set", EXAMPLES), ("single_label", ONE_EACH)], ids=["label_set", "single_label"]
)


def told_apart(readout):
    """A head starts at zero; give it weights that tell texts apart."""
    with torch.no_grad():
        for parameter in readout.trainable().values():
            generator = torch.Generator().manual_seed(0)
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return readout


@every_readout
@every_answer
@pytest.mark.parametrize("loss_on", ["completion", "all"])
def test_loss_sums_as_many_terms_as_announced(name: str, answer, examples: list[Example], loss_on: str) -> None:
    """The loop divides by `num_targets` before the loss is known; single texts sum to what the batch gives."""
    readout = told_apart(toy_readout(name, toy_loaded(), kind=answer, train_on_prompt=loss_on == "all"))
    texts = tokenized(readout, examples)
    loss, count = readout.loss(texts)
    assert readout.name == name
    assert loss.shape == () and loss.grad_fn is not None
    assert count == sum(readout.num_targets(text) for text in texts)
    singly = [readout.loss([text]) for text in texts]
    assert [one_count for _, one_count in singly] == [readout.num_targets(text) for text in texts]
    assert loss.item() == pytest.approx(sum(one.item() for one, _ in singly), rel=1e-12)


@every_readout
@every_answer
def test_answers_come_in_order_whatever_the_batch_size(name: str, answer, examples: list[Example]) -> None:
    shuffled = random.Random(0).sample(examples, len(examples))
    base = None
    for batch_size in (1, 2, 100):
        readout = told_apart(toy_readout(name, toy_loaded(), kind=answer, predict_batch_size=batch_size))
        resolved: list[int] = []
        predictions = readout.answer(shuffled, resolved.append)
        assert [p.id for p in predictions] == [e.id for e in shuffled]
        assert sum(resolved) == len(examples)
        assert all(set(p.labels) <= set(LABELS) for p in predictions)
        assert predictions == (base := base or predictions)
    assert readout.answer([]) == []


@every_readout
def test_answers_do_not_look_at_gold_labels(name: str) -> None:
    readout = told_apart(toy_readout(name, toy_loaded()))
    unlabelled = [dataclasses.replace(e, target=None) for e in EXAMPLES]
    assert readout.answer(unlabelled) == readout.answer(EXAMPLES)


@every_readout
def test_answering_makes_no_graph_and_changes_no_weight(name: str) -> None:
    loaded = toy_loaded()
    readout = told_apart(toy_readout(name, loaded))
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    readout.answer(EXAMPLES)
    readout.calibrate(EXAMPLES, micro_f1_threshold)
    assert all(torch.equal(value, before[key]) for key, value in loaded.model.state_dict().items())
    assert all(p.grad is None for p in [*loaded.model.parameters(), *readout.trainable().values()])


@every_readout
@every_answer
def test_saved_and_loaded_answers_the_same(name: str, answer, examples: list[Example], tmp_path: Path) -> None:
    readout = told_apart(toy_readout(name, toy_loaded(), kind=answer))
    expected = readout.calibrate(examples, micro_f1_threshold)
    readout.save(tmp_path)
    fresh = toy_readout(name, toy_loaded(), kind=answer)
    fresh.load(tmp_path)
    assert fresh.answer(examples) == expected == readout.answer(examples)


@every_readout
def test_a_text_that_is_too_long_keeps_its_marker(name: str) -> None:
    readout = toy_readout(name, toy_loaded(), max_length=40)
    text = readout.encode(Example("1", "long and longer " * 50, LabelSet(("Smears",))))
    assert len(text) <= 40
    assert readout.loaded.tokenizer.decode(text.ids[: text.prompt_length]).endswith("<tech:>")


@every_readout
@settings(deadline=None, max_examples=15)
@given(texts=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4))
def test_any_text_can_be_trained_on_and_answered(name: str, texts: list[str]) -> None:
    torch.set_num_threads(1)
    readout = told_apart(toy_readout(name, toy_loaded(), max_new_tokens=3))
    examples = [Example(str(i), text, LabelSet(LABELS[:i])) for i, text in enumerate(texts)]
    assert torch.isfinite(readout.loss(tokenized(readout, examples))[0])
    assert [p.id for p in readout.answer(examples)] == [e.id for e in examples]


@every_readout
def test_declares_whether_it_has_parameters(name: str) -> None:
    assert READOUTS.get(name).has_parameters == bool(toy_readout(name, toy_loaded()).trainable())


@pytest.mark.parametrize(("method_name", "name"), COMBINATIONS)
def test_one_training_step_with_every_method(method_name: str, name: str) -> None:
    """The loss falls, all that is to be trained changes, nothing else does."""
    method = METHODS.get(method_name)
    changes = {"rank": 4, "dropout": 0.0} if hasattr(method.presets["default"], "rank") else {}
    settings_ = dataclasses.replace(method.presets["default"], **changes)
    loaded = toy_loaded(precision=settings_.precision)
    readout = toy_readout(name, loaded)
    readout.prepare(EXAMPLES)
    texts = tokenized(readout)
    untouched = readout.loss(texts)[0].item()
    method.attach(loaded, settings_)
    start = readout.loss(texts)[0].item()
    if not hasattr(method, "start_effect"):
        assert start == pytest.approx(untouched, rel=1e-10), "a method starts without effect"

    trained = {**method.trainable(loaded.model), **readout.trainable()}
    fixed = {k: v.clone() for k, v in loaded.model.state_dict().items() if k not in trained}
    before = {k: v.detach().clone() for k, v in trained.items()}
    optimizer = torch.optim.SGD(trained.values(), lr=1e-5)
    for _ in range(2):  # a low-rank path's A moves once its B has
        loss, _terms = readout.loss(texts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert readout.loss(texts)[0].item() < start
    unused = {"lm_head.weight"} if name == "head" else set()
    same = {k for k, v in trained.items() if torch.equal(v, before[k])}
    if name == "head":
        # The head starts at zero, so in the first step nothing reaches the model; the second reaches it.
        same = {k for k in same if not k.endswith(("lora_A", "down_weight", "down_bias"))}
    assert same - unused == set()
    state = loaded.model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in fixed.items())
    assert all(p.grad is None for k, p in loaded.model.named_parameters() if k not in trained)
    assert [p.id for p in readout.answer(EXAMPLES)] == [e.id for e in EXAMPLES]


@every_readout
def test_own_parameters_come_with_a_learning_rate(name: str) -> None:
    readout = toy_readout(name, toy_loaded())
    rate = readout.learning_rate()
    assert rate is None or 0 < rate < 1
    assert (rate is None) == (not readout.trainable())
