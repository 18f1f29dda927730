"""Unpadded batches of whole models, against stock transformers one text at a time, in fp64.

The stock attention is sdpa: transformers' eager one takes its softmax in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import (
    AttentionMaskInterface,
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from semtune.errors import ModelError
from semtune.models import packed_attention
from semtune.models.architectures import architecture_of, install
from semtune.models.packed_attention import NAME
from semtune.models.prepacking import prepack_frozen
from semtune.nn import attention as attention_module
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.packed_batch import PackedBatch

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50, "initializer_range": 0.5, "pad_token_id": 0,
}  # fmt: skip
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "llama, tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "smollm3, through transformers' own forward": SmolLM3Config(**SIZES, no_rope_layer_interval=2),
    "mistral": MistralConfig(**SIZES, sliding_window=4),
    "mistral, no window": MistralConfig(**SIZES, sliding_window=None),
}
LENGTHS = (7, 1, 12, 7, 3, 10)
"""Their sum is above `ROW_MULTIPLE` and no multiple of it: the row is filled up with dummy tokens."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on a busy machine cost a hundred times what these sizes do."""
    torch.set_num_threads(1)


@pytest.fixture(params=list(CONFIGS))
def pair(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same model twice: with stock attention, and with ours."""
    return make(request.param, "sdpa"), make(request.param)


def make(kind: str, stock: str | None = None) -> torch.nn.Module:
    """A random model whose attention matters: large weights, and biases where it has any."""
    torch.manual_seed(0)
    config = type(CONFIGS[kind])(**CONFIGS[kind].to_dict())
    model = AutoModelForCausalLM.from_config(config, attn_implementation=stock or "sdpa").double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    if stock is None:
        install(model)
    return model


def packed_hidden_states(
    model: torch.nn.Module, ids: Tensor, batch: PackedBatch, query_indices: Sequence[int] | None = None
) -> Tensor:
    return architecture_of(model).hidden_states(model, ids, batch, query_indices)


def texts_of(lengths: tuple[int, ...], seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 50, (n,), generator=generator) for n in lengths]


def alone(model: torch.nn.Module, text: Tensor) -> Tensor:
    return model.base_model(input_ids=text.unsqueeze(0), use_cache=False).last_hidden_state[0]


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_attention_matters_in_these_models() -> None:
    """Or nothing here would be tested: an earlier token changes a later state, and a window shorter than a text too."""
    text = texts_of((12,))[0]
    other = text.clone()
    other[0] = other[0] % 49 + 1
    with torch.no_grad():
        model = make("llama", "sdpa")
        assert (alone(model, text)[-1] - alone(model, other)[-1]).abs().max() > 0.01
        windowed, whole = make("mistral", "sdpa"), make("mistral, no window", "sdpa")
        assert (alone(windowed, text)[-1] - alone(whole, text)[-1]).abs().max() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("lengths", [LENGTHS, (9, 6, 3), (5, 5, 5), (20, 20), (16, 16), (1,), (9,)], ids=str)
def test_hidden_states_equal_each_text_alone(pair, lengths: tuple[int, ...]) -> None:
    stock, ours = pair
    texts = texts_of(lengths)
    hidden = packed_hidden_states(ours, torch.cat(texts), PackedBatch(lengths))
    close(hidden, torch.cat([alone(stock, text) for text in texts]))


@torch.no_grad()
@pytest.mark.parametrize("query_indices", [(0,), (6, 7, 19, 39), (3, 4, 5, 29)], ids=str)
def test_states_of_query_indices_are_those_of_all(pair, query_indices: tuple[int, ...]) -> None:
    """Texts without a query included."""
    stock, ours = pair
    texts = texts_of(LENGTHS)
    hidden = packed_hidden_states(ours, torch.cat(texts), PackedBatch(LENGTHS), query_indices)
    close(hidden, torch.cat([alone(stock, text) for text in texts])[list(query_indices)])


@pytest.mark.parametrize("some", [False, True], ids=["all tokens", "some tokens"])
def test_gradients_of_all_parameters_equal_each_text_alone(pair, some: bool) -> None:
    stock, ours = pair
    texts = texts_of(LENGTHS)
    weight = torch.randn(sum(LENGTHS), 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    query_indices = None
    if some:  # the completions
        query_indices = [sum(LENGTHS[:i]) + n - 1 - j for i, n in enumerate(LENGTHS) for j in (1, 0) if j < n]
        weight[[i for i in range(len(weight)) if i not in query_indices]] = 0
    hidden = packed_hidden_states(ours, torch.cat(texts), PackedBatch(LENGTHS), query_indices)
    (hidden * (weight if query_indices is None else weight[query_indices])).sum().backward()
    for text, part in zip(texts, weight.split(LENGTHS), strict=True):
        (alone(stock, text) * part).sum().backward()
    expected = dict(stock.named_parameters())
    for name, parameter in ours.named_parameters():
        if expected[name].grad is None:
            assert parameter.grad is None, name  # an output embedding of its own
        else:
            scale = max(1.0, float(expected[name].grad.abs().max()))
            close(parameter.grad / scale, expected[name].grad / scale)


@torch.no_grad()
def test_long_texts_take_the_fused_kernel_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = (attention_module.PLAIN_UP_TO + 5, 3, 40)
    stock, ours = make("llama", "sdpa"), make("llama")
    texts = texts_of(lengths)

    def refuse(*_: object) -> Tensor:
        raise AssertionError("not the fused kernel")

    monkeypatch.setattr(attention_module, "short_attention", refuse)
    hidden = packed_hidden_states(ours, torch.cat(texts), PackedBatch(lengths))
    close(hidden, torch.cat([alone(stock, text) for text in texts]))


@torch.no_grad()
def test_decoding_in_pieces_equals_the_whole(pair) -> None:
    """Prefill, one token at a time, pieces of unequal length; texts that are done leave in between."""
    stock, ours = pair
    lengths = (12, 9, 14, 6)
    texts = texts_of(lengths)
    expected = [alone(stock, text) for text in texts]
    cache = KeyValueCache(4)
    schedule = [
        ([0, 1, 2, 3], [6, 2, 9, 5]),
        ([0, 1, 2, 3], [1, 1, 1, 1]),
        ([0, 1, 2], [1, 3, 1]),  # text 3 is done
        ([0, 1, 2], [1, 1, 1]),
        ([0, 2], [1, 1]),
        ([2, 0], [1, 2]),  # and in another order
    ]
    done, rows = [0] * 4, [0, 1, 2, 3]
    for now, counts in schedule:
        if now != rows:
            cache.keep([rows.index(text) for text in now])
            rows = now
        ids = torch.cat([texts[t][done[t] : done[t] + n] for t, n in zip(now, counts, strict=True)])
        hidden = packed_hidden_states(ours, ids, PackedBatch(tuple(counts), cache)).split(counts)
        for text, count, states in zip(now, counts, hidden, strict=True):
            close(states, expected[text][done[text] : done[text] + count])
            done[text] += count


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_changing_one_text_changes_no_other_by_one_bit(pair, dtype: torch.dtype) -> None:
    """Losses in fp32, where the last bit is easily lost; in bf16 through the compiled loops and packed weights."""
    _, ours = pair
    ours.to(dtype)
    if dtype == torch.bfloat16:
        ours.requires_grad_(False)
        prepack_frozen(ours, True, backward=True, memory_bytes=0)
    texts = texts_of(LENGTHS)
    before = losses(ours, texts)
    for changed in range(len(texts)):
        others = list(texts)
        others[changed] = texts_of(LENGTHS, seed=9)[changed]
        after = losses(ours, others)
        same = [i for i in range(len(texts)) if i != changed]
        assert torch.equal(after[same], before[same])
        if LENGTHS[changed] > 1:
            assert after[changed] != before[changed]


@torch.no_grad()
def losses(model: torch.nn.Module, texts: list[Tensor]) -> Tensor:
    """Summed next-token loss of each text, the first token of the text standing in for what follows its last."""
    lengths = tuple(len(text) for text in texts)
    logits = model.lm_head(packed_hidden_states(model, torch.cat(texts), PackedBatch(lengths)))
    targets = torch.cat([text.roll(-1) for text in texts])
    terms = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    return torch.stack([part.sum() for part in terms.split(lengths)])


def padded(texts: list[Tensor], left: bool) -> tuple[Tensor, Tensor]:
    max_seqlen = max(map(len, texts))
    ids, mask = (
        torch.zeros(len(texts), max_seqlen, dtype=torch.long),
        torch.zeros(len(texts), max_seqlen, dtype=torch.long),
    )
    for row, text in enumerate(texts):
        place = slice(max_seqlen - len(text), None) if left else slice(len(text))
        ids[row, place], mask[row, place] = text, 1
    return ids, mask


@torch.no_grad()
def padded_agrees(model: torch.nn.Module, stock: torch.nn.Module, left: bool) -> bool:
    """Whether a padded batch without `packed_batch` gives each text what it gets alone."""
    texts = texts_of(LENGTHS)
    ids, mask = padded(texts, left)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    hidden = model.base_model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    expected = [alone(stock, text) for text in texts]
    return all(
        torch.allclose(hidden[row, mask[row].bool()], expected[row], rtol=0, atol=1e-10) for row in range(len(texts))
    )


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
def test_padded_batches_still_mask_padding(pair, left: bool) -> None:
    stock, ours = pair
    assert padded_agrees(ours, stock, left)


def test_the_padding_test_would_notice_a_missing_mask_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault planted: the attention is registered, the mask of the same name is not."""
    ours, stock = make("llama"), make("llama", "sdpa")
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, NAME)
    assert not padded_agrees(ours, stock, left=True)


@torch.no_grad()
def test_padded_generation_equals_each_text_alone() -> None:
    stock, ours = make("llama", "sdpa"), make("llama")
    texts = texts_of((7, 2, 5))
    ids, mask = padded(texts, left=True)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    together = ours.generate(ids, attention_mask=mask, **options)[:, ids.shape[1] :]
    for row, text in enumerate(texts):
        one = stock.generate(text.unsqueeze(0), attention_mask=torch.ones(1, len(text)), **options)
        assert together[row].tolist() == one[0, len(text) :].tolist()


def test_scores_that_the_attention_would_not_compute_are_refused() -> None:
    q = torch.zeros(1, 4, 3, 8)
    with pytest.raises(ModelError, match="softcap"):
        packed_attention._attention(torch.nn.Module(), q, q, q, None, packed_batch=PackedBatch((3,)), softcap=30.0)
