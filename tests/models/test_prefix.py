"""A learned prefix of keys and values in attention, against the textbook formula in fp64 and against whole models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from semtune.models.architectures import architecture_of
from semtune.models.packed_attention import NAME
from semtune.nn import attention as attention_module
from semtune.nn.attention import packed_attention
from semtune.nn.packed_batch import PackedBatch

from ..nn.test_attention import DIM, HEADS, KV_HEADS, SCALE, random_qkv, table, turned
from .test_packed_attention import CONFIGS, LENGTHS, close, make, padded, texts_of

PREFIX_LENGTH = 3
EVERY_KIND = pytest.mark.parametrize("kind", CONFIGS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def random_prefix(heads: int = KV_HEADS, dim: int = DIM, seed: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, heads, PREFIX_LENGTH, dim, dtype=torch.float64, generator=generator)
    return keys.clone().requires_grad_(), values.clone().requires_grad_()


def textbook(q: Tensor, k: Tensor, v: Tensor, prefix, lengths: list[int], window: int | None) -> Tensor:
    """(tokens, heads, dim): every query of every text and head by itself; q, k, v (tokens, heads, dim)."""
    rows, start = [], 0
    for length in lengths:
        for at in range(start, start + length):
            first = start if window is None else max(start, at - window + 1)
            heads = []
            for head in range(HEADS):
                group = head // (HEADS // KV_HEADS)
                keys = torch.cat([prefix[0][group], k[first : at + 1, group]])
                values = torch.cat([prefix[1][group], v[first : at + 1, group]])
                heads.append(torch.softmax(keys @ q[at, head] * SCALE, 0) @ values)
            rows.append(torch.stack(heads))
        start += length
    return torch.stack(rows)


@pytest.mark.parametrize("plain_up_to", [0, 1000], ids=["long", "short"])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("query_indices", [None, (1, 3, 4, 9)], ids=["all", "some"])
def test_equals_the_textbook_with_gradients(
    query_indices: tuple[int, ...] | None, window: int | None, plain_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grouped queries, several texts, rotary embeddings that count no prefix, dummy rows behind."""
    monkeypatch.setattr(attention_module, "PLAIN_UP_TO", plain_up_to)
    lengths = [4, 1, 5]
    tokens, rows = sum(lengths), list(range(10)) if query_indices is None else list(query_indices)
    ours, theirs = (random_qkv(tokens, requires_grad=True) for _ in range(2))
    mine, expected_prefix = random_prefix(), random_prefix()
    q, k, v = (x[0].transpose(0, 1) for x in ours)
    q = torch.nn.functional.pad(q[rows], (0, 0, 0, 0, 0, 2), value=3.0)
    out = packed_attention(
        q, k, v, PackedBatch(tuple(lengths)), layer=0, scale=SCALE, window=window, rotary=table(5),
        query_indices=query_indices, prefix=mine,
    )  # fmt: skip
    q, k = (turned(x, lengths)[0].transpose(0, 1) for x in theirs[:2])
    expected = textbook(q, k, theirs[2][0].transpose(0, 1), expected_prefix, lengths, window)[rows]
    close(out[: len(rows)], expected)
    assert not out[len(rows) :].any()
    weight = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (out[: len(rows)] * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip((*ours, *mine), (*theirs, *expected_prefix), strict=True):
        close(a.grad, b.grad)


class Prefix(nn.Module):
    """Keys and values as plain parameters."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        keys, values = random_prefix(2, 8, seed)
        self.keys, self.values = nn.Parameter(keys.detach()), nn.Parameter(values.detach())

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.keys, self.values


def with_prefix(kind: str) -> nn.Module:
    model = make(kind)
    for i, attention in enumerate(architecture_of(model).attentions(model)):
        attention.prefix = Prefix(seed=i)
    return model


def one_by_one(model: nn.Module, texts: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Each text alone through transformers' forward, its attention written out here in fp64."""

    def written_out(module, query, key, value, attention_mask, scaling=None, sliding_window=None, **_):
        n, groups = query.shape[2], query.shape[1] // key.shape[1]
        at = torch.arange(n)
        visible = at[None, :] <= at[:, None]
        if sliding_window is not None:
            visible &= at[None, :] > at[:, None] - sliding_window
        visible = torch.cat([torch.ones(n, PREFIX_LENGTH, dtype=torch.bool), visible], dim=1)
        keys = torch.cat([module.prefix.keys[None], key], dim=2).repeat_interleave(groups, dim=1)
        values = torch.cat([module.prefix.values[None], value], dim=2).repeat_interleave(groups, dim=1)
        scores = (query @ keys.transpose(2, 3) * scaling).masked_fill(~visible, -torch.inf)
        return (scores.softmax(-1) @ values).transpose(1, 2), None

    with monkeypatch.context() as patch:
        patch.setitem(AttentionInterface._global_mapping, NAME, written_out)
        states = [model.base_model(input_ids=t.unsqueeze(0), use_cache=False).last_hidden_state[0] for t in texts]
    return torch.cat(states)


@EVERY_KIND
@pytest.mark.parametrize("checkpointing", [False, True])
def test_whole_models_with_gradients(kind: str, checkpointing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = with_prefix(kind).train(), with_prefix(kind)
    texts, query_indices = texts_of(LENGTHS), [3, 6, 7, 19, 20, 29]
    expected = one_by_one(theirs, texts, monkeypatch)[query_indices]
    plain = make(kind)
    hidden = architecture_of(ours).hidden_states(
        ours, torch.cat(texts), PackedBatch(LENGTHS), query_indices, checkpointing=checkpointing
    )
    close(hidden, expected)
    without = architecture_of(plain).hidden_states(plain, torch.cat(texts), PackedBatch(LENGTHS), query_indices)
    assert (hidden - without).abs().max() > 0.01
    weight = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (hidden * weight).sum().backward()  # not its square: the final norm makes that a constant
    (expected * weight).sum().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    reached = 0
    for name, parameter in ours.named_parameters():
        if "prefix" in name:
            scale = max(1.0, float(gradients[name].abs().max()))
            close(parameter.grad / scale, gradients[name] / scale)
            reached += bool(parameter.grad.abs().max() > 1e-6)
    assert reached == 4


@EVERY_KIND
@torch.no_grad()
def test_decoding_in_pieces_equals_the_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache holds no prefix, and every piece sees it."""
    model, texts = with_prefix(kind), texts_of((12, 9))
    architecture = architecture_of(model)
    expected = one_by_one(model, texts, monkeypatch).split([12, 9])
    cache = architecture.new_cache(model, 2)
    done = [0, 0]
    for counts in ((6, 2), (1, 1), (3, 4), (2, 2)):
        ids = torch.cat([text[d : d + n] for text, d, n in zip(texts, done, counts, strict=True)])
        hidden = architecture.hidden_states(model, ids, PackedBatch(counts, cache)).split(list(counts))
        for states, whole, d, n in zip(hidden, expected, done, counts, strict=True):
            close(states, whole[d : d + n])
        done = [d + n for d, n in zip(done, counts, strict=True)]
    assert cache.lengths == [12, 9]


@EVERY_KIND
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@torch.no_grad()
def test_padded_calls_of_transformers_see_it_too(kind: str, left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts = with_prefix(kind), texts_of(LENGTHS)
    expected = one_by_one(model, texts, monkeypatch).split(list(LENGTHS))
    ids, mask = padded(texts, left)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    hidden = model.base_model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    for row, states in enumerate(expected):
        close(hidden[row, mask[row].bool()], states)


@torch.no_grad()
def test_generation_of_transformers_sees_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_prefix("llama")
    (text,) = texts_of((6,))
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    generated = model.generate(text.unsqueeze(0), attention_mask=torch.ones(1, 6), **options)[0]
    for length in range(6, 12):
        hidden = one_by_one(model, [generated[:length]], monkeypatch)
        assert int(model.lm_head(hidden[-1]).argmax()) == int(generated[length])


def test_names_of_a_prefix_are_those_of_its_place() -> None:
    names = {name for name in with_prefix("qwen2").state_dict() if "prefix" in name}
    assert names == {f"model.layers.{i}.self_attn.prefix.{part}" for i in (0, 1) for part in ("keys", "values")}
