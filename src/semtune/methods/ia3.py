"""(IA)³: trained vectors scale keys, values and the MLP's inner activations (Liu et al. 2022, arXiv:2205.05638).

- The vectors are 1 at first, so the function is the same at the start. They merge into plain weights.
- The paper's section 3.3 scales the activation between the MLP's two matrices: the input of its last linear layer.
- Where one layer computes queries, keys and values together (GPT-NeoX) name it in `targets`; its queries are then
  scaled too, as in PEFT.
- Of the paper's recipe T-Few only the adapter is here, not its additional losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import OptionError
from semtune.methods import _peft_ia3
from semtune.methods._low_rank import resolve_targets
from semtune.methods._merging import merge_wrapped
from semtune.nn.scaled_linear import ScaledLinear
from semtune.records import MethodSettings, option


@dataclass(frozen=True, slots=True)
class IA3Settings(MethodSettings):
    """Options of (IA)³."""

    targets: tuple[str, ...] = option(
        ("k_proj", "v_proj"),
        help="Linear layers whose outputs are scaled, comma separated: those of keys and values.",
    )
    feedforward_targets: tuple[str, ...] = option(
        ("down_proj",), help="Linear layers whose inputs are scaled, comma separated: the last of each MLP."
    )


class IA3Method:
    """Wraps linear layers in `ScaledLinear`."""

    name = "ia3"
    Settings = IA3Settings
    freezes_linears = True
    presets: Mapping[str, IA3Settings] = {
        # Not in the original experiment: its precision, and the learning rate of the paper's recipe (T-Few).
        "report": IA3Settings(precision="bf16", learning_rate=3e-3),
        "default": IA3Settings(precision="auto", learning_rate=1e-2),
    }
    preset_notes: Mapping[str, tuple[str, ...]] = {
        "report": ("preset report: (IA)³ was not part of the original experiment; its learning rate is its paper's",)
    }

    def attach(self, loaded: LoadedModel, settings: IA3Settings) -> None:
        """Freeze the whole model and wrap the targets; everything is checked before any change.

        Raises TargetError for a target that matches nothing, OptionError for a layer that is named twice.
        """
        linears = loaded.linears()
        outputs = resolve_targets(linears, settings.targets)
        inputs = resolve_targets(linears, settings.feedforward_targets)
        if twice := sorted(outputs.keys() & inputs.keys()):
            raise OptionError(f"{twice[0]} is named by targets and by feedforward_targets; leave it out of one of them")
        loaded.model.requires_grad_(False)
        for path, base in {**outputs, **inputs}.items():
            loaded.model.set_submodule(path, ScaledLinear(base, on_input=path in inputs).train(base.training))

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The vectors, by their name in `model`."""
        return {f"{path}.scale": module.scale for path, module in scaled_layers(model).items()}

    def merge(self, model: nn.Module) -> None:
        """Merge every vector into its base layer's weight and bias, computed in fp32 and rounded once, in place.

        Raises MergeRefusedError where a base layer refuses (4-bit weights), before anything is changed.
        """
        merge_wrapped(model, scaled_layers(model))

    def save(self, model: nn.Module, folder: Path, settings: IA3Settings, base_model: str) -> None:
        """Write the vectors in PEFT's file format. Raises OutputError."""
        _peft_ia3.save(model, scaled_layers(model), folder, base_model)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read vectors in PEFT's file format into an attached model. Raises ModelError before any is changed."""
        _peft_ia3.load(scaled_layers(model), folder)


def scaled_layers(model: nn.Module) -> dict[str, ScaledLinear]:
    """Every scaled linear layer of `model`, by module path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, ScaledLinear)}


IA3 = IA3Method()
