"""Houlsby adapters: a bottleneck adapter after attention, one after the MLP (Houlsby et al. 2019, arXiv:1902.00751).

    a' = a + W_up f(W_down a + b_down) + b_up        a: the output of attention or of the MLP, without the residual

- The paper applies each adapter to the output of a sublayer, projected back to the hidden size, before the residual
  connection; so does AdapterHub (`DoubleSeqBnConfig`), in decoders whose norms come first too.
- Defaults: AdapterHub's reduction factor 16 and swish. The up-projection is 0 at first (see `nn.bottleneck`), where the
  paper draws it from a normal distribution of standard deviation 0.01.
- The paper trains the norms too; here they stay frozen, as in AdapterHub, so that adapters alone are compared.
"""

from __future__ import annotations

import inspect

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import TargetError
from semtune.methods._bottleneck import BottleneckMethod, BottleneckSettings
from semtune.methods._norms import is_norm
from semtune.nn.linear import is_linear_layer


class Houlsby(BottleneckMethod):
    """Adapters behind attention and the MLP of every block."""

    def carriers(self, loaded: LoadedModel) -> list[nn.Module]:
        """Attention and the module that ends the MLP, of every block. Raises TargetError."""
        attentions = {id(module) for module in loaded.attentions()}
        found: list[nn.Module] = []
        for block in loaded.blocks():
            found += [module for module in block.modules() if id(module) in attentions]
            found.append(_end_of_mlp(block, attentions))
        for module in found:
            if "residual" in inspect.signature(module.forward).parameters:
                raise TargetError(
                    f"{type(module).__name__} adds the residual itself, so no adapter fits between the two; choose "
                    "--method pfeiffer, whose adapters stand behind whole blocks"
                )
        return found


def _end_of_mlp(block: nn.Module, attentions: set[int]) -> nn.Module:
    """The child of a block that gives the MLP's output: the MLP itself, or the last of its linear layers (OPT).

    Raises TargetError where the block has several more parts with weights.
    """
    parts = [
        child
        for child in block.children()
        if _has_weights(child) and not is_norm(child) and not any(id(m) in attentions for m in child.modules())
    ]
    if not parts or (len(parts) > 1 and not all(is_linear_layer(part) for part in parts)):
        named = ", ".join(type(part).__name__ for part in parts) or "none"
        raise TargetError(
            f"{type(block).__name__} has not one MLP beside its attention ({named}); choose --method pfeiffer, whose "
            "adapters stand behind whole blocks"
        )
    return parts[-1]


def _has_weights(module: nn.Module) -> bool:
    """Whether there are parameters in the module, or linear layers, whose weights may be stored as buffers."""
    return any(is_linear_layer(m) or m._parameters for m in module.modules())


HOULSBY = Houlsby(
    name="houlsby",
    presets={
        # Not in the original experiment: its precision.
        "report": BottleneckSettings(precision="bf16", learning_rate=1e-3, activation="swish"),
        "default": BottleneckSettings(precision="auto", learning_rate=1e-3, activation="swish"),
    },
    preset_notes={"report": ("preset report: Houlsby adapters were not part of the original experiment",)},
)
