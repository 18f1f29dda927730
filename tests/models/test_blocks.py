"""Blocks are modules: hooks fire, children can be replaced, FSDP2 shards them one by one, files stay compatible."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from transformers import AutoModelForCausalLM, MambaConfig

from semtune.errors import ModelError
from semtune.models.architectures import architecture_of, install
from semtune.models.architectures.fused_blocks import FusedAttention, FusedBlock, FusedMLP

from .test_packed_attention import CONFIGS, LENGTHS, PackedBatch, alone, close, make, padded, texts_of

FUSED = ("llama", "qwen2", "qwen3", "mistral")
STOCK = "smollm3, through transformers' own forward"
kinds = pytest.mark.parametrize("kind", [*FUSED, STOCK])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def forward(model: nn.Module, *, checkpointing: bool = False, query_indices: list[int] | None = None) -> Tensor:
    ids = torch.cat(texts_of(LENGTHS))
    architecture = architecture_of(model)
    return architecture.hidden_states(model, ids, PackedBatch(LENGTHS), query_indices, checkpointing=checkpointing)


@pytest.mark.parametrize("kind", CONFIGS)
def test_names_and_classes_stay(kind: str) -> None:
    """Files stay compatible, and what looks for transformers' own classes finds them."""
    stock, ours = make(kind, "sdpa"), make(kind)
    assert list(stock.state_dict()) == list(ours.state_dict())
    assert [name for name, _ in stock.named_modules()] == [name for name, _ in ours.named_modules()]
    for theirs, mine in zip(stock.modules(), ours.modules(), strict=True):
        assert isinstance(mine, type(theirs))
    ours.load_state_dict(stock.state_dict())


@kinds
def test_blocks_of_every_architecture_are_found(kind: str) -> None:
    model = make(kind)
    architecture = architecture_of(model)
    blocks = architecture.blocks(model)
    assert blocks == list(model.base_model.layers)
    assert architecture.attentions(model) == [block.self_attn for block in blocks]
    linears = architecture.linears(model)
    assert len(linears) == 7 * len(blocks) and not any("lm_head" in path for path in linears)
    fused = kind in FUSED
    assert all(isinstance(block, FusedBlock) == fused for block in blocks)
    assert all(isinstance(block.self_attn, FusedAttention) == fused for block in blocks)
    assert all(isinstance(block.mlp, FusedMLP) == fused for block in blocks)


@kinds
@pytest.mark.parametrize("checkpointing", [False, True])
def test_hooks_fire_once_a_forward(kind: str, checkpointing: bool) -> None:
    model = make(kind).train()
    fired: Counter[str] = Counter()
    watched = [
        path
        for path, module in model.named_modules()
        if path.endswith(("self_attn", "mlp", "norm", "layernorm")) or module in model.base_model.layers
    ]
    for path in watched:
        model.get_submodule(path).register_forward_hook(lambda *_, path=path: fired.update([path]))
    with torch.set_grad_enabled(checkpointing):
        hidden = forward(model, checkpointing=checkpointing, query_indices=[3, 9, 20])
    assert fired == dict.fromkeys(watched, 1)
    if checkpointing:
        hidden.sum().backward()
        assert all(fired[path] == 1 for path in watched if path.rsplit(".", 1)[-1].isdigit())


@kinds
@torch.no_grad()
def test_what_a_hook_returns_is_what_goes_on(kind: str) -> None:
    """The output of attention and MLP is doubled by hooks, in both models."""
    stock, ours = make(kind, "sdpa"), make(kind)
    for model in (stock, ours):
        for block in model.base_model.layers:
            block.self_attn.register_forward_hook(lambda _, __, out: (2 * out[0], out[1]))
            block.mlp.register_forward_hook(lambda _, __, out: 2 * out)
    close(forward(ours), torch.cat([alone(stock, text) for text in texts_of(LENGTHS)]))


def weighted(hidden: Tensor) -> Tensor:
    """A scalar; not the sum of squares, which the final norm makes a constant."""
    weight = torch.randn(hidden.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return (hidden * weight).sum()


class Parallel(nn.Module):
    """A linear branch beside any module whose first output is a tensor like its first input."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base, self.branch = base, nn.Linear(32, 32, bias=False, dtype=torch.float64)
        nn.init.normal_(self.branch.weight, generator=torch.Generator().manual_seed(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.branch(x)


@kinds
def test_children_can_be_replaced(kind: str) -> None:
    """A parallel adapter beside each MLP, its gradient included, in packed and in padded calls."""
    stock, ours = make(kind, "sdpa"), make(kind)
    for model in (stock, ours):
        for path in [p for p, _ in model.named_modules() if p.endswith("mlp")]:
            model.set_submodule(path, Parallel(model.get_submodule(path)))
    expected = torch.cat([alone(stock, text) for text in texts_of(LENGTHS)])
    hidden = forward(ours)
    close(hidden, expected)
    weighted(hidden).backward()
    weighted(expected).backward()
    theirs = dict(stock.named_parameters())
    for name, parameter in ours.named_parameters():
        if "branch" in name:
            scale = theirs[name].grad.abs().max()
            close(parameter.grad / scale, theirs[name].grad / scale)
    with torch.no_grad():
        ids, mask = padded(texts_of(LENGTHS), left=False)
        both = [m(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()] for m in (stock, ours)]
        close(*both)


@pytest.fixture
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@kinds
@pytest.mark.parametrize("checkpointing", [False, True])
def test_sharded_block_by_block_gives_the_same_loss(kind: str, checkpointing: bool, process_group) -> None:
    """FSDP2 on one gloo process; forward, gradients, and a second forward after the parameters changed."""
    plain, sharded = make(kind).train(), make(kind).train()
    for block in architecture_of(sharded).blocks(sharded):
        fully_shard(block, mesh=process_group)
    blocks = architecture_of(sharded).blocks(sharded)
    assert len(blocks) == 2 and all(isinstance(block, FSDPModule) for block in blocks)
    for _ in range(2):
        losses = [
            weighted(forward(model, checkpointing=checkpointing, query_indices=[3, 9, 20]))
            for model in (plain, sharded)
        ]
        assert torch.equal(*losses)
        for loss in losses:
            loss.backward()
        for (name, a), b in zip(plain.named_parameters(), sharded.parameters(), strict=True):
            if a.grad is None:
                assert b.grad is None, name
                continue
            whole = b.grad.full_tensor() if hasattr(b.grad, "full_tensor") else b.grad
            assert torch.equal(whole, a.grad), name
        with torch.no_grad():
            for parameter in (*plain.parameters(), *sharded.parameters()):
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-1e-3)
                    parameter.grad = None


def test_an_architecture_with_a_state_is_refused() -> None:
    """Or texts of one packed batch would run into each other without a word."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 50}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(MambaConfig(**sizes))
    with pytest.raises(ModelError, match="carries a state"):
        install(model)


def test_other_activations_take_transformers_own_forward() -> None:
    """A config of a fused type whose block is another one."""
    config = type(CONFIGS["llama"])(**CONFIGS["llama"].to_dict() | {"hidden_act": "gelu"})
    torch.manual_seed(0)
    stock = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").double().eval()
    ours = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").double().eval()
    ours.load_state_dict(stock.state_dict())
    install(ours)
    assert not isinstance(ours.base_model.layers[0], FusedBlock)
    with torch.no_grad():
        close(forward(ours), torch.cat([alone(stock, text) for text in texts_of(LENGTHS)]))
