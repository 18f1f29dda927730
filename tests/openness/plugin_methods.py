"""Two ways of tuning from outside: a branch beside every MLP with trained biases, and learned keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from semtune.contracts import LoadedModel
from semtune.errors import MergeRefusedError
from semtune.records import MethodSettings
from semtune.records.declare import option

WEIGHTS = "weights.safetensors"


class ParallelMLP(nn.Module):
    """mlp(x) + up(relu(down(x))): zero effect at the start, as `up` is zero."""

    def __init__(self, mlp: nn.Module, hidden_size: int, width: int) -> None:
        super().__init__()
        self.mlp = mlp
        self.down = nn.Linear(hidden_size, width, bias=False)
        self.up = nn.Linear(width, hidden_size, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x) + self.up(torch.relu(self.down(x.to(self.down.weight.dtype)))).to(x.dtype)


class LearnedKeyValues(nn.Module):
    """What an attention sees before every text: (keys, values), each (kv_heads, length, head_dim)."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        super().__init__()
        self.keys = nn.Parameter(0.02 * torch.randn(shape, dtype=dtype))
        self.values = nn.Parameter(0.02 * torch.randn(shape, dtype=dtype))

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.keys, self.values


class _Saved:
    """Saving and loading of whatever is trained."""

    name: str

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def merge(self, model: nn.Module) -> None:
        raise MergeRefusedError(f"{self.name} adds modules that no plain weight can hold; predict with them unmerged")

    def save(self, model: nn.Module, folder: Path, settings: MethodSettings, base_model: str) -> None:
        save_file({name: p.detach().contiguous() for name, p in self.trainable(model).items()}, folder / WEIGHTS)

    def load(self, model: nn.Module, folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        with torch.no_grad():
            for name, parameter in self.trainable(model).items():
                parameter.copy_(tensors[name])


class ParallelBranch(_Saved):
    """A parallel branch beside every MLP, and a trained bias of every attention output projection."""

    name = "parallel-branch"

    @dataclass(frozen=True, slots=True)
    class Settings(MethodSettings):
        width: int = option(4, help="Width of the branch beside each MLP.")

    presets: Mapping[str, MethodSettings] = {"default": Settings(learning_rate=1e-2), "report": Settings()}

    def attach(self, loaded: LoadedModel, settings: Settings) -> None:
        loaded.model.requires_grad_(False)
        for path, linear in loaded.linears().items():
            if path.endswith("o_proj"):
                linear.bias = nn.Parameter(torch.zeros(linear.out_features, dtype=loaded.compute_dtype))
        for block in loaded.blocks():
            block.mlp = ParallelMLP(block.mlp, loaded.hidden_size, settings.width)


class LearnedPrefix(_Saved):
    """Keys and values in front of every attention's own (Li & Liang 2021, without reparametrisation)."""

    name = "learned-prefix"

    @dataclass(frozen=True, slots=True)
    class Settings(MethodSettings):
        length: int = option(3, unit="positions", help="Learned positions in front of every text.")

    presets: Mapping[str, MethodSettings] = {"default": Settings(learning_rate=1e-2), "report": Settings()}

    def attach(self, loaded: LoadedModel, settings: Settings) -> None:
        loaded.model.requires_grad_(False)
        config = loaded.model.config.get_text_config()
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        for attention in loaded.attentions():
            shape = (config.num_key_value_heads, settings.length, head_dim)
            attention.prefix = LearnedKeyValues(shape, loaded.compute_dtype)


PARALLEL_BRANCH, LEARNED_PREFIX = ParallelBranch(), LearnedPrefix()
