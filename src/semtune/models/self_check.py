"""Whether semtune computes what transformers computes, for the architecture of a config, on a small copy of it.

The copy (`tiny_config`) has random fp32 weights. Stock transformers runs each text alone, in the model's own attention;
semtune loads the same weights through its own loader and runs the texts packed, in pieces with its cache, and as a tree
of continuations. Hidden states and logits must agree. Nothing is downloaded; a check takes a fraction of a second.
"""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from semtune.contracts import Tokenizer
from semtune.errors import first_line
from semtune.models.architectures import install
from semtune.models.decoder import decoders
from semtune.models.loaded import TransformersModel
from semtune.models.meta_model import build_meta_model, expected_tensors, fill, materialise_buffers
from semtune.models.quiet import quiet
from semtune.models.tiny_config import tiny_config

TOLERANCE = 1e-4
"""Largest difference, relative to the largest value, in fp32."""
MOST_PARAMETERS = 30_000_000
"""A copy with more is not built: it would take seconds."""
LENGTHS = (13, 9)
"""Tokens of the texts."""
PIECES = ((6, 3), (1, 1), (2, 1), (4, 4))
"""Tokens of each text in the forwards of cached decoding."""
FIRST_ID, LAST_ID = 4, 40
"""Token ids of the texts: no special ones."""


def mismatch(config: Any, *, trust_remote_code: bool = False, trusted: bool = False, device: str = "cpu") -> str | None:
    """What semtune computes otherwise than transformers, as the end of a sentence about the architecture.

    None: nothing.

    Args:
        trusted: the architecture is registered by a plugin: hidden states are its own affair, and where the check
            itself cannot run, it passes.
        device: where both copies run. Users' models are checked on the CPU; the tests of a GPU pass "cuda".
    """
    with warnings.catch_warnings(), quiet(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        try:
            small = tiny_config(config)
            stock = _stock_model(small, trust_remote_code).to(device)
            expected = _Expected(stock)
            expected.of(expected.texts[0])
        except Exception as error:  # noqa: BLE001 - foreign code may raise whatever it likes
            return None if trusted else f"cannot be checked on a small copy ({first_line(error)})"
        try:
            # A config of its own: selecting semtune's attention writes into it.
            loaded = _loaded(copy.deepcopy(small), stock, trust_remote_code)
            return next((f for f in _findings(loaded, expected, hidden=not trusted) if f is not None), None)
        except Exception as error:  # noqa: BLE001
            return None if trusted else f"cannot run packed texts ({first_line(error)})"


def _stock_model(config: Any, trust_remote_code: bool) -> nn.Module:
    """The small model in the attention that transformers chooses, with weights large enough to matter."""
    from transformers import AutoModelForCausalLM

    meta = build_meta_model(config, torch.float32, trust_remote_code=trust_remote_code)
    parameters = sum(p.numel() for p in meta.parameters())
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"its small copy has {parameters / 1e6:.0f} million parameters")
    auto: Any = AutoModelForCausalLM
    model: nn.Module = auto.from_config(config, dtype=torch.float32, trust_remote_code=trust_remote_code).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / math.sqrt(parameter.shape[-1]))
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


class _Expected:
    """Hidden states and logits of stock transformers, one text at a time, without a cache."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._device = next(model.parameters()).device
        self.texts = [torch.randint(FIRST_ID, LAST_ID, (n,)) for n in LENGTHS]
        self._memory: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def of(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """(tokens, hidden_size) and (tokens, vocab_size)."""
        key = tuple(text.tolist())
        if key not in self._memory:
            outputs: list[Any] = []
            hooks = [
                m.register_forward_hook(lambda _m, _i, output: outputs.append(output)) for m in decoders(self.model)
            ]
            try:
                logits = self.model(input_ids=text.unsqueeze(0).to(self._device), use_cache=False).logits[0]
            finally:
                for hook in hooks:
                    hook.remove()
            hidden = outputs[-1][0][0] if outputs else logits  # the base model returns last
            self._memory[key] = hidden, logits
        return self._memory[key]


@dataclass
class _Weights:
    """The tensors of a model as a `contracts.WeightStream`."""

    tensors: dict[str, Tensor]

    def names(self) -> list[str]:
        return list(self.tensors)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return iter((name, tensor.detach().clone()) for name, tensor in self.tensors.items())


def _loaded(config: Any, stock: nn.Module, trust_remote_code: bool) -> TransformersModel:
    """The small model as `loading.load` makes it, with the weights of `stock`."""
    model = build_meta_model(config, torch.float32, trust_remote_code=trust_remote_code)
    device = next(stock.parameters()).device
    materialise_buffers(model, device)
    fill(model, _Weights(expected_tensors(stock)), dtype=torch.float32, device=device)
    model.eval()
    model.config.get_text_config().use_cache = False  # type: ignore[operator, union-attr]
    install(model)
    hidden_size = int(config.get_text_config().hidden_size)
    return TransformersModel(model, cast(Tokenizer, None), "", torch.float32, device, hidden_size)


def _findings(loaded: TransformersModel, expected: _Expected, *, hidden: bool) -> Iterator[str | None]:
    """One sentence's end per comparison; None where it agrees."""
    texts = [text.tolist() for text in expected.texts]
    whole = [expected.of(text) for text in expected.texts]
    states, logits = (torch.cat(parts) for parts in zip(*whole, strict=True))
    with torch.no_grad():
        ours = loaded.hidden_states(*loaded.pack(texts))
        if hidden:
            yield _difference("hidden states of packed texts", ours, states)
        yield _difference("logits", loaded.logits(ours), logits)
        rows = [i for i in range(len(ours)) if i % 3]
        some = loaded.hidden_states(*loaded.pack(texts), rows)
        yield _difference("hidden states at chosen tokens", some, ours[rows])
        yield _difference("hidden states in cached decoding", _decoded(loaded, texts), ours)
        if loaded.tree_attention:
            yield _difference("logits of continuations in a tree", *_tree(loaded, expected, texts))
    loaded.model.train()
    targets = torch.tensor([token for text in texts for token in text], device=loaded.device)
    loss = loaded.next_token_loss(loaded.hidden_states(*loaded.pack(texts)), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    yield None if math.isfinite(float(loss)) else "has a loss that is not finite"


def _decoded(loaded: TransformersModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """The hidden states of `texts`, read in `PIECES` with a cache; in the order of the packed texts."""
    cache = loaded.new_cache(len(texts))
    pieces: list[list[Tensor]] = [[] for _ in texts]
    starts = [0] * len(texts)
    for counts in PIECES:
        new = [text[start : start + n] for text, start, n in zip(texts, starts, counts, strict=True)]
        states = loaded.hidden_states(*loaded.pack(new, cache))
        for i, part in enumerate(torch.split(states, list(counts))):
            pieces[i].append(part)
        starts = [start + n for start, n in zip(starts, counts, strict=True)]
    return torch.cat([part for parts in pieces for part in parts])


def _tree(loaded: TransformersModel, expected: _Expected, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Logits after every token of three continuations behind two prefixes, as one tree and one by one."""
    first, second = texts
    continuations = [first[6:10], [*first[6:8], second[0], second[1]], second[2:5]]
    prefixes = [first[:6], second[:4]]
    ids, batch, paths = loaded.pack_tree(prefixes, continuations)
    logits = loaded.logits(loaded.hidden_states(ids, batch))
    ours, stock = [], []
    starts = itertools.accumulate(batch.lengths, initial=0)
    for prefix, start in zip(prefixes, starts, strict=False):
        for continuation, path in zip(continuations, paths, strict=True):
            ours.append(logits[[start + len(prefix) + node for node in path]])
            stock.append(expected.of(torch.tensor([*prefix, *continuation]))[1][len(prefix) :])
    return torch.cat(ours), torch.cat(stock)


def _difference(what: str, ours: Tensor, expected: Tensor) -> str | None:
    """None: equal within the tolerance."""
    if ours.shape != expected.shape:
        return f"gives {what} of another shape than transformers ({list(ours.shape)}, not {list(expected.shape)})"
    error = float((ours - expected).abs().max() / expected.abs().max())
    if error <= TOLERANCE:
        return None
    return f"gives {what} that differ from transformers' own (relative error {error:.2g})"
