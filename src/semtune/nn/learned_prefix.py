"""Learned keys and values of one attention layer (prefix tuning, Li & Liang 2021, arXiv:2101.00190).

    attention(q) = softmax(q [K_prefix; K]ᵀ scale) [V_prefix; V]

Each module is called without arguments and returns (keys, values), each (kv_heads, length, head_dim), as
`contracts.LoadedModel.attentions` asks of `attention.prefix`. Parameters are fp32, or fp64 for an fp64 model.

**Which keys are stored.** PEFT and the paper's code hand the prefix to the model as cached tokens at positions 0 to
length - 1, so the text begins at position `length`. Here a prefix shifts no positions. With rotary embeddings R the two
differ by one rotation, the same for every key, as (R(length + j) q) · k = (R(j) q) · (R(-length) k). Parameters are
PEFT's k, and `forward` returns R(-length) k. So a file of either side holds the same numbers to the bit, and keys that
a model computed for real words at positions 0 to length - 1 mean the same as those words in front of the text.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn.padding import Rotary, rotate

KeysAndValues = tuple[Tensor, Tensor]
Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class LearnedPrefix(nn.Module):
    """Keys and values as parameters.

    Args:
        keys, values: their start, each (kv_heads, length, head_dim).
        rotation: R(length), cos and sin of (1, head_dim / 2) each; None: keys are returned as they are.
    """

    cos: Tensor | None
    sin: Tensor | None

    def __init__(self, keys: Tensor, values: Tensor, rotation: Rotary | None = None) -> None:
        super().__init__()
        self.keys, self.values = nn.Parameter(keys), nn.Parameter(values)
        _register_rotation(self, rotation)

    @property
    def shapes(self) -> Shapes:
        """The shapes of keys and values."""
        return tuple(self.keys.shape), tuple(self.values.shape)

    def stored(self) -> KeysAndValues:
        """Keys and values as files hold them."""
        return self.keys, self.values

    def forward(self) -> KeysAndValues:
        """(keys, values) for the attention, each (kv_heads, length, head_dim)."""
        keys, values = self.stored()
        return _turned_back(keys, self.cos, self.sin), values

    def plain(self) -> LearnedPrefix:
        """The module itself: it has nothing that training alone needs."""
        return self

    def extra_repr(self) -> str:
        return f"kv_heads={self.keys.shape[0]}, length={self.keys.shape[1]}, head_dim={self.keys.shape[2]}"


class PrefixEncoder(nn.Module):
    """The part of the reparametrisation that all layers share: tanh(E W₁ᵀ + b₁), (length, bottleneck).

    Args:
        width: columns of E, the paper's smaller matrix P'.
    """

    def __init__(
        self, length: int, width: int, bottleneck: int, *, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        # Drawn on the CPU: the same seed then gives the same numbers on every device.
        self.embedding = nn.Parameter(torch.randn(length, width, dtype=dtype).to(device))
        weight, bias = linear_start(bottleneck, width, dtype)
        self.weight, self.bias = nn.Parameter(weight.to(device)), nn.Parameter(bias.to(device))

    def forward(self) -> Tensor:
        return torch.tanh(F.linear(self.embedding, self.weight, self.bias))


class EncodedPrefix(nn.Module):
    """Keys and values from an MLP: one layer's rows of the last matrix, applied to the shared `PrefixEncoder`.

        [keys; values] = start + tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂

    The paper trains so because keys and values trained directly were unstable; the MLP is dropped after training
    (`plain`). The start is 0 in the paper.

    Args:
        start: (keys, values), each (kv_heads, length, head_dim), not trained; None: zeros.
        owner: whether this layer registers the encoder as its child; in all others its parameters have no second name.
        zero: whether W₂ and b₂ start at zero instead of at `nn.Linear`'s distribution.
    """

    cos: Tensor | None
    sin: Tensor | None
    start_keys: Tensor
    start_values: Tensor

    def __init__(
        self,
        encoder: PrefixEncoder,
        start: KeysAndValues,
        rotation: Rotary | None = None,
        *,
        owner: bool,
        zero: bool,
    ) -> None:
        super().__init__()
        if owner:
            self.encoder = encoder
        self._encoder = (encoder,)  # a tuple, so that the module is not registered
        keys, values = start
        self._widths = (keys.shape[0] * keys.shape[2], values.shape[0] * values.shape[2])
        self._kv_heads = keys.shape[0]
        self.register_buffer("start_keys", keys, persistent=False)
        self.register_buffer("start_values", values, persistent=False)
        rows, bottleneck = sum(self._widths), len(encoder.bias)
        weight, bias = linear_start(rows, bottleneck, keys.dtype)
        if zero:
            weight, bias = torch.zeros_like(weight), torch.zeros_like(bias)
        self.weight, self.bias = nn.Parameter(weight.to(keys.device)), nn.Parameter(bias.to(keys.device))
        _register_rotation(self, rotation)

    @property
    def shapes(self) -> Shapes:
        """The shapes of keys and values."""
        return tuple(self.start_keys.shape), tuple(self.start_values.shape)

    def stored(self) -> KeysAndValues:
        """Keys and values as files hold them."""
        rows = F.linear(self._encoder[0](), self.weight, self.bias)  # (length, rows of W₂)
        keys, values = (
            part.view(len(part), self._kv_heads, -1).transpose(0, 1)
            for part in torch.split(rows, list(self._widths), dim=1)
        )
        return self.start_keys + keys, self.start_values + values

    def forward(self) -> KeysAndValues:
        """(keys, values) for the attention, each (kv_heads, length, head_dim)."""
        keys, values = self.stored()
        return _turned_back(keys, self.cos, self.sin), values

    @torch.no_grad()
    def plain(self) -> LearnedPrefix:
        """The same keys and values without the MLP."""
        keys, values = (x.clone(memory_format=torch.contiguous_format) for x in self.stored())
        rotation = None if self.cos is None or self.sin is None else Rotary(self.cos, self.sin)
        return LearnedPrefix(keys, values, rotation)


AnyPrefix = LearnedPrefix | EncodedPrefix


def linear_start(rows: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight (rows, columns) and bias (rows,) as `nn.Linear` draws them, on the CPU."""
    weight = nn.init.kaiming_uniform_(torch.empty(rows, columns, dtype=dtype), a=math.sqrt(5))
    bound = columns**-0.5
    return weight, torch.empty(rows, dtype=dtype).uniform_(-bound, bound)


def _register_rotation(module: nn.Module, rotation: Rotary | None) -> None:
    """Buffers `cos` and `sin`, which no file holds."""
    module.register_buffer("cos", None if rotation is None else rotation.cos, persistent=False)
    module.register_buffer("sin", None if rotation is None else rotation.sin, persistent=False)


def _turned_back(keys: Tensor, cos: Tensor | None, sin: Tensor | None) -> Tensor:
    """R(-length) keys."""
    if cos is None or sin is None:
        return keys
    return rotate(keys.contiguous().unsqueeze(0), (cos, sin), sign=-1).squeeze(0)
