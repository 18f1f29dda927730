"""A tiny recurrent causal language model and its architecture, written as someone outside semtune would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from semtune.models.architectures.recurrent import RecurrentArchitecture

DECAY = 0.8


class RecurrentConfig(PreTrainedConfig):
    model_type = "toy-recurrent"

    def __init__(self, vocab_size: int = 340, hidden_size: int = 24, num_hidden_layers: int = 2, **kwargs: Any) -> None:
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        super().__init__(**kwargs)


class RecurrentBlock(nn.Module):
    """s_t = DECAY s_{t-1} + candidate(x_t), y_t = x_t + out(σ(gate(x_t)) ⊙ s_t), all tokens of a text at once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate, self.candidate = nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(tokens, width) and (width,) -> (tokens, width) and the state after the last token (width,)."""
        step = torch.arange(len(x), device=x.device, dtype=x.dtype)
        weights = torch.tril(DECAY ** (step[:, None] - step))  # (tokens, tokens): of token k in the state after t
        states = weights @ self.candidate(x) + DECAY ** (step[:, None] + 1) * state
        return x + self.out(torch.sigmoid(self.gate(x)) * states), states[-1]


class RecurrentModel(PreTrainedModel):
    config_class = RecurrentConfig
    base_model_prefix = "model"
    _no_split_modules = ["RecurrentBlock"]  # noqa: RUF012 - as transformers writes it

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(RecurrentBlock(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def forward(self, input_ids: Tensor, states: tuple[Tensor, ...] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One text: (tokens,) -> (tokens, hidden_size) and the state of each layer."""
        x, after = self.embed_tokens(input_ids), []
        for i, layer in enumerate(self.layers):
            x, state = layer(x, x.new_zeros(x.shape[1]) if states is None else states[i])
            after.append(state)
        return self.norm(x), tuple(after)


class RecurrentForCausalLM(PreTrainedModel):
    config_class = RecurrentConfig
    base_model_prefix = "model"
    _no_split_modules = ["RecurrentBlock"]  # noqa: RUF012

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.model = RecurrentModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: Tensor, **_: Any) -> CausalLMOutput:
        """(texts, tokens) without padding."""
        return CausalLMOutput(logits=torch.stack([self.lm_head(self.model(text)[0]) for text in input_ids]))


class RecurrentToy(RecurrentArchitecture):
    def run_text(self, model: nn.Module, input_ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        return model.model(input_ids, state)


ARCHITECTURE = RecurrentToy()
AutoConfig.register("toy-recurrent", RecurrentConfig, exist_ok=True)
AutoModelForCausalLM.register(RecurrentConfig, RecurrentForCausalLM, exist_ok=True)
