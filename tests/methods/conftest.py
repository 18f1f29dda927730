"""A tiny random Llama in float64 and a stand-in LoadedModel around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from semtune.contracts import Cache
from semtune.models.architectures import architecture_of, install
from semtune.nn.linear import is_linear_layer
from semtune.nn.packed_batch import PackedBatch
from semtune.registry import QUANTIZATIONS


class ToyBundle:
    """What methods need of `contracts.LoadedModel`; nothing else."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.tokenizer = None
        self.name = "toy"
        self.compute_dtype = torch.float64
        self.device = torch.device("cpu")
        self.hidden_size = 64
        self.notes = ()
        self.files: dict[str, Tensor] = {}
        """The linear layers' weights before they were quantised, by path."""

    def original_weights(self, paths: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        for path in reversed(paths):  # not in the model's order: methods must not rely on it
            yield path, self.files[path]

    def linears(self) -> dict[str, nn.Module]:
        return {
            path: module
            for path, module in self.model.named_modules()
            if path.startswith("model.layers.") and is_linear_layer(module) and not path.endswith(".base")
        }

    def blocks(self) -> list[nn.Module]:
        return architecture_of(self.model).blocks(self.model)

    def attentions(self) -> list[nn.Module]:
        return architecture_of(self.model).attentions(self.model)

    def new_cache(self, count: int) -> Cache:
        return architecture_of(self.model).new_cache(self.model, count)

    def pack(self, texts: Sequence[Sequence[int]], cache: Cache | None = None) -> tuple[Tensor, PackedBatch]:
        ids = torch.tensor([token for text in texts for token in text])
        return ids, PackedBatch(tuple(len(text) for text in texts), cache)

    def hidden_states(
        self, input_ids: Tensor, batch: PackedBatch, query_indices: Sequence[int] | None = None
    ) -> Tensor:
        return architecture_of(self.model).hidden_states(self.model, input_ids, batch, query_indices)

    def logits(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError

    def next_token_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError


def _toy_model(seed: int = 0, tied: bool = False, bias: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=97,
        initializer_range=0.2,
        attention_bias=bias,
        tie_word_embeddings=tied,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_()
    return model


def _quantized(model: nn.Module, precision: str) -> nn.Module:
    """Every decoder linear in a registered quantisation, computing in fp64."""
    for path, module in ToyBundle(model).linears().items():
        layer = QUANTIZATIONS.get(precision).quantize(module.weight, module.bias, torch.float64)
        model.set_submodule(path, layer.train(module.training))
    return model


@pytest.fixture
def toy_model() -> Callable[..., LlamaForCausalLM]:
    return _toy_model


@pytest.fixture
def toy_loaded() -> Callable[..., ToyBundle]:
    """A factory: a LoadedModel around a fresh toy model, the same weights each time; quantised if so named."""

    def build(precision: str = "fp32", **options: object) -> ToyBundle:
        model = _toy_model(**options)
        install(model)
        bundle = ToyBundle(model)
        if precision in QUANTIZATIONS:
            bundle.files = {path: module.weight.detach() for path, module in bundle.linears().items()}
            _quantized(bundle.model, precision)
        return bundle

    return build


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(1, 97, (3, 11), generator=torch.Generator().manual_seed(5))
