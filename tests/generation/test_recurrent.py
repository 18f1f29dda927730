"""An architecture whose cache is a state, registered from a test: loss, states, decoding and ranking, text by text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from semtune.generation.generator import Generator
from semtune.generation.greedy import greedy
from semtune.generation.loglikelihood import loglikelihood
from semtune.generation.prompt_lookup import PromptLookup
from semtune.models import loading
from semtune.models.architectures import architecture_of, install
from semtune.models.loaded import TransformersModel
from semtune.models.tokenizer import FastTokenizer
from semtune.prompts.report import ReportPrompt
from semtune.records import TargetSpace
from semtune.registry import ARCHITECTURES

from ..openness.plugin_architecture import ARCHITECTURE, RecurrentConfig
from ..toys import EXAMPLES, LABELS, VOCABULARY, byte_level, tokenized, toy_readout, valid_answers

MAX_NEW_TOKENS = 9


@pytest.fixture(autouse=True)
def registered():
    """By location, as an entry point would; the model type is unknown to semtune otherwise."""
    ARCHITECTURES.register("toy-recurrent", f"{ARCHITECTURE.__module__}:ARCHITECTURE", "a toy")
    yield
    ARCHITECTURES.unregister("toy-recurrent")


def make() -> torch.nn.Module:
    """Weights large enough for the state to matter; end-of-sequence comes now and then."""
    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_config(RecurrentConfig()).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.6)
        model.lm_head.weight[0] *= 5
    return model


def make_loaded() -> TransformersModel:
    model = make()
    install(model)
    tokenizer = FastTokenizer(byte_level(), VOCABULARY)
    return TransformersModel(model, tokenizer, "toy", torch.float64, torch.device("cpu"), 24)


def random_ids(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(2, 300, (n,), generator=generator).tolist() for n in lengths]


PROMPTS = random_ids(3, 9, 1, 14, 5, 2, 7)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_it_is_found_by_its_model_type() -> None:
    model = make()
    assert architecture_of(model) is ARCHITECTURE
    loaded = make_loaded()
    assert loaded.blocks() == list(loaded.model.model.layers)
    assert list(loaded.linears())[:3] == [f"model.layers.0.{name}" for name in ("gate", "candidate", "out")]
    assert not loaded.tree_attention and not loaded.attentions()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("query_indices", [None, [1, 2, 5, 12, 40]])
def test_states_and_gradients_equal_each_text_alone(query_indices: list[int] | None, checkpointing: bool) -> None:
    loaded, plain = make_loaded(), make()
    loaded.activation_checkpointing = checkpointing
    hidden = loaded.hidden_states(*loaded.pack(PROMPTS), query_indices)
    expected = torch.cat([plain.model(torch.tensor(prompt))[0] for prompt in PROMPTS])
    expected = expected if query_indices is None else expected[query_indices]
    close(hidden, expected)
    for states in (hidden, expected):
        (states * torch.arange(states.numel()).view_as(states).sin()).sum().backward()
    for mine, theirs in zip(loaded.model.parameters(), plain.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if mine.grad is not None:
            close(mine.grad, theirs.grad)


@torch.no_grad()
def test_a_state_is_carried_on() -> None:
    """In pieces, with texts that leave, change places, stand twice and join."""
    loaded = make_loaded()
    texts = random_ids(8, 6, 7)
    whole = [loaded.model.model(torch.tensor(text))[0] for text in texts]
    cache = loaded.new_cache(2)
    loaded.hidden_states(*loaded.pack([texts[0][:3], texts[1][:2]], cache))
    other = loaded.new_cache(1)
    loaded.hidden_states(*loaded.pack([texts[2][:4]], other))
    cache.keep([1, 0, 0])
    cache.join(other)
    assert cache.lengths == [2, 3, 3, 4]
    pieces = [texts[1][2:], texts[0][3:], texts[0][3:5], texts[2][4:]]
    hidden = loaded.hidden_states(*loaded.pack(pieces, cache))
    close(hidden, torch.cat([whole[1][2:], whole[0][3:], whole[0][3:5], whole[2][4:]]))
    assert cache.lengths == [6, 8, 5, 7]
    cache.rewind([6, 8, 5, 7])
    assert not cache.rewindable
    with pytest.raises(ValueError, match="cannot be rewound"):
        cache.rewind([6, 8, 4, 7])


@torch.no_grad()
def plain_greedy(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    """The whole text again for every token."""
    ids = list(prompt)
    while len(ids) < len(prompt) + MAX_NEW_TOKENS:
        token = int(model.lm_head(model.model(torch.tensor(ids))[0][-1]).argmax())
        if token == 0:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_greedy_decoding_without_drafts(batch_size: int | None) -> None:
    """No draft is proposed, as a rejected one could not be taken back."""
    expected = [plain_greedy(make(), prompt) for prompt in PROMPTS]
    assert len({len(tokens) for tokens in expected}) > 2, "texts should end at different steps"
    lookup = PromptLookup(0, expected)  # would propose the truth
    lookup.propose = None
    assert greedy(make_loaded(), PROMPTS, MAX_NEW_TOKENS, batch_size=batch_size, prompt_lookup=lookup) == expected


@torch.no_grad()
def test_loglikelihood_without_trees() -> None:
    model = make()
    first, second = random_ids(4, 6)
    completions = [first, [8], second, [*first[:2], 5, 0], second[:5], first]
    expected = torch.zeros(len(PROMPTS), len(completions), dtype=torch.float64)
    for row, prompt in enumerate(PROMPTS):
        for column, completion in enumerate(completions):
            logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
            expected[row, column] = -F.cross_entropy(logits, torch.tensor(completion), reduction="sum")
    close(loglikelihood(make_loaded(), PROMPTS, completions), expected)
    close(loglikelihood(make_loaded(), PROMPTS, [[8], [9]])[:, 0], expected[:, 1])
    close(loglikelihood(make_loaded(), PROMPTS, completions, batch_size=2), expected)


def test_readouts_train_and_answer() -> None:
    """The loss equals the plain model's, and constrained decoding stays inside the answers."""
    loaded, model = make_loaded(), make()
    readout = toy_readout("generate-constrained", loaded)
    texts = tokenized(readout)
    loss, num_targets = readout.loss(texts)
    expected = 0.0
    for text in texts:
        logits = model(torch.tensor([text.ids[:-1]])).logits[0, text.prompt_length - 1 :]
        expected += F.cross_entropy(logits, torch.tensor(text.ids[text.prompt_length :]), reduction="sum").item()
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert num_targets == sum(len(text) - text.prompt_length for text in texts)
    valid = valid_answers(single=False)
    assert all(prediction.raw in valid for prediction in readout.answer(EXAMPLES))
    for name in ("loglikelihood", "head"):
        predictions = toy_readout(name, loaded).answer(EXAMPLES)
        assert [p.id for p in predictions] == [e.id for e in EXAMPLES]


def test_the_generator_serves_it_too() -> None:
    generator = Generator(make_loaded())
    constraint = generator.label_constraint(ReportPrompt(TargetSpace("label_set", LABELS)).grammar())
    (answer,) = generator.generate(["Vote!"], 60, constraint)
    assert answer in valid_answers(single=False)


def test_it_is_loaded_from_a_folder(tmp_path: Path) -> None:
    make().float().save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    loaded = loading.load(str(tmp_path), precision="fp32")
    assert architecture_of(loaded.model) is ARCHITECTURE
    with torch.no_grad():
        hidden = loaded.hidden_states(*loaded.pack(PROMPTS[:1]))
        expected = make().model(torch.tensor(PROMPTS[0]))[0]
    torch.testing.assert_close(hidden.double(), expected, rtol=1e-4, atol=1e-4)
