"""Training and decoding of labels as text, against transformers' own loss and own greedy search."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semtune.contracts import TokenizedExample
from semtune.generation.greedy import greedy
from semtune.readouts import generate
from semtune.tasks import scoring

from ..toys import EXAMPLES, LABELS, byte_level, tokenized, toy_loaded, toy_model, toy_readout

SETTINGS = [("completion", False), ("completion", True), ("all", False)]
parametrized = pytest.mark.parametrize(("loss_on", "pad_is_eos"), SETTINGS)


def padded_with_labels(texts: list[TokenizedExample], loss_on: str) -> dict[str, Tensor]:
    """A right-padded batch as transformers takes it; -100 where nothing is to be predicted."""
    longest = max(map(len, texts))
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text.ids)
        mask[row, : len(text)] = 1
        first = text.prompt_length if loss_on == "completion" else 0
        labels[row, first : len(text)] = torch.tensor(text.ids[first:])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def exact_loss(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """transformers takes its loss in fp32; this is the same sum in fp64 over its logits."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["labels"][:, 1:].reshape(-1), reduction="sum")


@parametrized
def test_loss_and_gradients_equal_those_of_transformers(loss_on: str, pad_is_eos: bool) -> None:
    loaded = toy_loaded(tokenizer=byte_level(pad_is_eos))
    readout = toy_readout("generate", loaded, train_on_prompt=loss_on == "all")
    texts = tokenized(readout)
    loss, num_targets = readout.loss(texts)
    stock = toy_model()
    batch = padded_with_labels(texts, loss_on)
    expected = exact_loss(stock, batch)
    assert num_targets == int((batch["labels"][:, 1:] != -100).sum())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert loss.item() / num_targets == pytest.approx(stock(**batch).loss.item(), rel=1e-6)
    loss.backward()
    expected.backward()
    theirs = dict(stock.named_parameters())
    for name, parameter in loaded.model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, theirs[name].grad, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n} {m}"
        )


@parametrized
def test_end_of_sequence_is_always_a_target(loss_on: str, pad_is_eos: bool) -> None:
    """Or the model would never learn to stop: masking by the padding token's id is the classic mistake."""
    loaded = toy_loaded(tokenizer=byte_level(pad_is_eos))
    readout = toy_readout("generate", loaded, train_on_prompt=loss_on == "all")
    for text in tokenized(readout):
        assert text.ids[-1] == loaded.tokenizer.eos_id == 0
        shorter = dataclasses.replace(text, ids=text.ids[:-1])
        with torch.no_grad():
            last_term = readout.loss([text])[0] - readout.loss([shorter])[0]
            logits = toy_model()(torch.tensor([text.ids[:-1]])).logits[0, -1]
        assert last_term.item() == pytest.approx(-logits.log_softmax(-1)[0].item(), rel=1e-9)


def test_prompt_is_no_target_of_the_completion_loss() -> None:
    readout = toy_readout("generate", toy_loaded())
    (text,) = tokenized(readout, EXAMPLES[:1])
    completion = text.ids[text.prompt_length :]
    assert readout.num_targets(text) == len(completion)
    assert readout.loaded.tokenizer.decode(completion) == " Doubt"
    assert readout.loaded.tokenizer.decode(text.ids[: text.prompt_length]) == "Vote for Norbury jam! <tech:>"


def test_loss_of_a_bf16_model_is_summed_in_fp32() -> None:
    readout = toy_readout("generate", toy_loaded(dtype=torch.bfloat16))
    assert readout.loss(tokenized(readout))[0].dtype == torch.float32


def prone_to_stop(seed: int = 3) -> torch.nn.Module:
    """A model that says end-of-sequence now and then."""
    model = toy_model(seed)
    with torch.no_grad():
        model.lm_head.weight[0] *= 1.8
    return model


def prompts(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(2, 300, (1 + i * 5 % 13,), generator=generator).tolist() for i in range(count)]


def test_greedy_equals_the_search_of_transformers_text_by_text() -> None:
    loaded = toy_loaded()
    loaded.model.load_state_dict(prone_to_stop().state_dict())
    stock, texts = prone_to_stop(), prompts(16)
    said = greedy(loaded, texts, 15)
    for text, ours in zip(texts, said, strict=True):
        ids = torch.tensor([text])
        one = stock.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=15, do_sample=False)
        theirs = [token for token in one[0, len(text) :].tolist() if token != 0]
        assert ours == theirs
    lengths = {len(tokens) for tokens in said}
    assert 15 in lengths and len(lengths) >= 4, "texts should end at different steps, or leaving is not tested"


def test_finished_texts_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only texts that go on are computed."""
    loaded = toy_loaded()
    loaded.model.load_state_dict(prone_to_stop().state_dict())
    texts, rows = prompts(16), []
    forward = type(loaded).hidden_states

    def spy(self: object, ids: Tensor, batch: object, query_indices: object = None) -> Tensor:
        rows.append(len(batch.lengths))
        return forward(self, ids, batch, query_indices)

    monkeypatch.setattr(type(loaded), "hidden_states", spy)
    said = greedy(loaded, texts, 15)
    # A text takes part in the step that says its end, and in none after it.
    assert rows == [sum(len(tokens) >= step for tokens in said) for step in range(len(rows))]
    assert rows[0] == 16 > rows[-1]


def test_no_more_tokens_than_allowed() -> None:
    assert [len(tokens) for tokens in greedy(toy_loaded(), prompts(2), 1)] == [1, 1]


def test_unparsable_completions_are_kept_and_counted() -> None:
    """A random model says nonsense: every example is answered, each as not parsed, and the score says so."""
    readout = toy_readout("generate", toy_loaded())
    predictions = readout.answer(EXAMPLES)
    assert [p.id for p in predictions] == [e.id for e in EXAMPLES]
    assert not any(p.parsed for p in predictions)
    assert all(p.raw for p in predictions)
    scores = scoring.score(EXAMPLES, predictions, LABELS, "label_set", where="toys")
    assert scores.parse_failures == 1.0
    assert scores.examples == len(EXAMPLES)


def test_answers_are_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partly readable completions give the labels that could be read."""
    readout = toy_readout("generate", toy_loaded())
    completions = [" Smears", " Smears, what", " No technique", "", f" Doubt, {LABELS[1]}, {LABELS[3]}"]
    tokenizer = byte_level()
    by_prompt = {
        tokenized(readout, [e])[0].ids[: tokenized(readout, [e])[0].prompt_length]: tokenizer.encode(text)
        for e, text in zip(EXAMPLES, completions, strict=True)
    }
    monkeypatch.setattr(generate, "greedy", lambda _bundle, asked, *_, **__: [by_prompt[tuple(ids)] for ids in asked])
    predictions = readout.answer(EXAMPLES)
    assert [p.raw for p in predictions] == completions
    assert [p.parsed for p in predictions] == [True, False, True, False, True]
    expected = [("Smears",), ("Smears",), (), (), (LABELS[0], LABELS[1], LABELS[3])]
    assert [p.labels for p in predictions] == expected


def test_a_model_that_was_taught_says_what_it_was_taught() -> None:
    """Training and decoding agree on where the completion starts and how it ends."""
    loaded = toy_loaded()
    readout = toy_readout("generate", loaded, max_new_tokens=60)
    texts = tokenized(readout)
    optimizer = torch.optim.Adam(loaded.model.parameters(), lr=5e-3)
    for _ in range(80):
        loss, num_targets = readout.loss(texts)
        optimizer.zero_grad()
        (loss / num_targets).backward()
        optimizer.step()
    predictions = readout.answer(EXAMPLES)
    assert [(p.labels, p.parsed) for p in predictions] == [(e.labels, True) for e in EXAMPLES]
