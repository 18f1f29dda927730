"""The norms of a decoder, by module path."""

from __future__ import annotations

from torch import nn

from semtune.contracts import LoadedModel


def block_norms(loaded: LoadedModel) -> dict[str, nn.Module]:
    """The norms inside the decoder's blocks (RMSNorm, LayerNorm and their kin with weights), by module path."""
    inside = {id(module) for block in loaded.blocks() for module in block.modules()}
    return {path: m for path, m in loaded.model.named_modules() if id(m) in inside and is_norm(m)}


def outer_norms(loaded: LoadedModel) -> dict[str, nn.Module]:
    """The decoder's norms after its blocks, by module path: most decoders have one, the final norm.

    A norm of the embeddings, which a few decoders have (BLOOM), is none of them.
    """
    blocks = loaded.blocks()
    inside = {id(module) for block in blocks for module in block.modules()}
    decoder = _parent_path(loaded.model, blocks[0])
    return {
        path: module
        for path, module in loaded.model.named_modules()
        if path.startswith(decoder) and id(module) not in inside and is_norm(module) and "emb" not in path.lower()
    }


def _parent_path(model: nn.Module, block: nn.Module) -> str:
    """The path, with a dot at its end, of the module that has the list of blocks: "model." of "model.layers.0"."""
    path = next(path for path, module in model.named_modules() if module is block)
    parts = path.split(".")[:-2]
    return "".join(f"{part}." for part in parts)


def is_norm(module: nn.Module) -> bool:
    """Whether the module is a norm with weights, by its class's name, as transformers has a class for each model."""
    return "norm" in type(module).__name__.lower() and bool(module._parameters) and not list(module.children())
