"""The update within the backward: the same bits as after it, one gradient at a time, and its two ways of clipping."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semtune.errors import DivergedError, OptionError
from semtune.plan.recorder import Recorder
from semtune.registry import OPTIMIZERS
from semtune.training.optimizer import Optimizer
from semtune.training.rule import OptimizerChoice, ParameterGroup
from semtune.training.schedule import Schedule

RULES = [name for name in OPTIMIZERS if OPTIMIZERS.get(name).uses_gradients]


class Network(nn.Module):
    """Embedding, dropout, layers with biases, and an output that shares the embedding's weight."""

    def __init__(self, dtype: torch.dtype = torch.float32, width: int = 72, layers: int = 3) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.embedding = nn.Embedding(64, width, dtype=dtype)
        self.layers = nn.ModuleList(nn.Linear(width, width, dtype=dtype) for _ in range(layers))
        self.unused = nn.Linear(width, width, dtype=dtype)
        self.drop = nn.Dropout(0.2)

    def loss(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = self.drop(layer(x).tanh())
        return nn.functional.cross_entropy((x @ self.embedding.weight.t()).float(), (ids + 1) % 64)

    def groups(self, *, masters: bool = False) -> list[ParameterGroup]:
        named = dict(self.named_parameters())
        embedding = {"embedding.weight": named.pop("embedding.weight")}
        return [
            ParameterGroup(named, 1e-2, 0.1, master_weights=masters),
            ParameterGroup(embedding, 3e-3, master_weights=masters),
        ]


def choice(name: str, **fused: Any) -> OptimizerChoice:
    rule = OPTIMIZERS.get(name)
    return OptimizerChoice(rule, rule.Settings(rank=8) if name == "apollo" else rule.Settings(), **fused)


def trained(
    name: str, *, dtype: torch.dtype = torch.float32, masters: bool = False, max_norm: float = 1e9, **fused: Any
) -> tuple[Network, Optimizer, list[tuple[float, float]]]:
    network = Network(dtype)
    torch.manual_seed(7)
    optimizer = choice(name, **fused).make(network.groups(masters=masters), Schedule(8, 0.2))
    figures = []
    for step in range(5):
        ids = torch.arange(20 + step) % 64
        figures.append(optimizer.minimise([lambda ids=ids: network.loss(ids)], max_norm))
    return network, optimizer, figures


def assert_equal(ours: tuple[Network, Optimizer, Any], theirs: tuple[Network, Optimizer, Any]) -> None:
    for (name, p), q in zip(ours[0].named_parameters(), theirs[0].parameters(), strict=True):
        assert torch.equal(p, q), name
    state, expected = ours[1].state_dict(), theirs[1].state_dict()
    for name, tensors in expected.items():
        assert all(torch.equal(state[name][key], value) for key, value in tensors.items()), name
    assert [f[0] for f in ours[2]] == [f[0] for f in theirs[2]]
    rel = 1e-2 if ours[0].embedding.weight.dtype == torch.bfloat16 else 1e-5  # torch's norm is rounded to the dtype
    assert [f[1] for f in ours[2]] == pytest.approx([f[1] for f in theirs[2]], rel=rel)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    ("dtype", "masters"), [(torch.float32, False), (torch.bfloat16, True), (torch.bfloat16, False)], ids=str
)
@pytest.mark.parametrize("clip", ["tensor", "total"])
def test_the_same_bits_where_clipping_does_not_act(name: str, dtype: torch.dtype, masters: bool, clip: Any) -> None:
    apart = trained(name, dtype=dtype, masters=masters)
    assert_equal(trained(name, dtype=dtype, masters=masters, fused_update=True, fused_clip=clip), apart)


def test_the_total_norm_clips_as_without_fusion() -> None:
    """The clip factor is formed in fp64 here and there, and scales masters' gradients in the same place."""
    apart = trained("adamw", dtype=torch.bfloat16, masters=True, max_norm=0.05)
    assert all(norm > 0.05 for _, norm in apart[2])
    fused = trained("adamw", dtype=torch.bfloat16, masters=True, max_norm=0.05, fused_update=True, fused_clip="total")
    for p, q in zip(fused[0].parameters(), apart[0].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-4)
    assert [f[1] for f in fused[2]] == pytest.approx([f[1] for f in apart[2]], rel=1e-3)


def test_each_gradient_is_clipped_by_itself() -> None:
    """Against plain SGD-like arithmetic: Lion's momentum after one step is (1 - beta2) times the clipped gradient."""
    weights = {"a": nn.Parameter(torch.zeros(4)), "b": nn.Parameter(torch.zeros(9))}
    optimizer = choice("lion", fused_update=True).make([ParameterGroup(weights, 1e-3)], Schedule(10, 0.0))
    loss, norm = optimizer.minimise([lambda: (3 * weights["a"]).sum() + (0.1 * weights["b"]).sum()], max_norm=1.0)
    assert (loss, norm) == (0.0, pytest.approx(math.sqrt(36 + 0.09)))
    state = optimizer.state_dict()
    torch.testing.assert_close(state["a"]["exp_avg"], torch.full((4,), 0.01 * 3 / 6))  # its norm was 6
    torch.testing.assert_close(state["b"]["exp_avg"], torch.full((9,), 0.01 * 0.1))  # its norm was 0.3


def test_a_gradient_is_gone_before_the_next_but_one_is_there() -> None:
    """Live bytes in the backward: all gradients without fusion, a few with it; on fake tensors the same."""
    peaks = {}
    for fused in (False, True):
        for fake in (True, False):
            recorder = Recorder(round_to=1)
            with recorder.recording(fake=fake):
                network = Network(torch.bfloat16, width=256, layers=8)
                network.drop.p = 0.0
                optimizer = choice("adamw", fused_update=fused).make(network.groups(masters=True), Schedule(9, 0.1))
                ids = torch.zeros(2, dtype=torch.int64)
                for _ in range(2):
                    gc.collect()
                    recorder.begin("step")
                    before = recorder.live_bytes
                    optimizer.minimise([lambda network=network, ids=ids: network.loss(ids)], 1.0)
            sections = recorder.sections[[s.name for s in recorder.sections].index("step") :]
            peaks[fused, fake] = max(max(s.live_bytes) for s in sections) - before
            del network, optimizer
    one, every = 2 * 256 * 256, 2 * 256 * 256 * 8
    assert peaks[False, False] > every
    assert peaks[True, False] < 3 * one
    for fused in (False, True):
        assert peaks[fused, True] == pytest.approx(peaks[fused, False], rel=0.02)


@pytest.mark.parametrize("clip", ["tensor", "total"])
def test_divergence_of_the_loss_is_seen_before_any_weight_changes(clip: Any) -> None:
    network = Network()
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = choice("adamw", fused_update=True, fused_clip=clip).make(network.groups(), Schedule(8, 0.2))
    with pytest.raises(DivergedError, match="learning-rate"):
        optimizer.minimise([lambda: network.loss(torch.arange(5)) * math.nan], 1.0)
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))


def test_divergence_of_the_norm_is_seen() -> None:
    weight = nn.Parameter(torch.ones(3))
    for clip in ("tensor", "total"):
        group = ParameterGroup({"w": weight}, 1e-3)
        optimizer = choice("adamw", fused_update=True, fused_clip=clip).make([group], Schedule(8, 0.2))
        with pytest.raises(DivergedError):
            optimizer.minimise([lambda: (weight * 0.0).sqrt().sum()], 1.0)  # a gradient of 0 · inf


def test_micro_batches_are_refused() -> None:
    network = Network()
    optimizer = choice("adamw", fused_update=True).make(network.groups(), Schedule(8, 0.2))
    with pytest.raises(OptionError, match="accumulation"):
        optimizer.minimise([lambda: network.loss(torch.arange(5))] * 2, 1.0)


def test_the_optimizer_is_let_go_with_its_state() -> None:
    """No hook on a parameter holds on to the moments after training."""
    network, optimizer, _ = trained("adamw", fused_update=True)
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None
    assert network.loss(torch.arange(5)).isfinite()


@pytest.mark.gpu
@pytest.mark.parametrize("name", RULES)
def test_the_same_bits_on_a_gpu(name: str) -> None:
    found = []
    for fused in (False, True):
        network = Network(torch.bfloat16).cuda()
        network.drop.p = 0.0
        torch.manual_seed(7)
        optimizer = choice(name, fused_update=fused).make(network.groups(masters=True), Schedule(8, 0.2))
        ids = torch.arange(20, device="cuda")
        for _ in range(4):
            optimizer.minimise([lambda network=network, ids=ids: network.loss(ids)], 1e9)
        found.append([p.detach().clone() for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
