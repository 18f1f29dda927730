"""BitFit: the bias terms alone are trained (Ben Zaken et al. 2022, arXiv:2106.10199).

- The paper tunes models whose linear layers and norms all have biases. Llama-like decoders have none, or (Qwen2) a few:
  a linear layer without a bias then gets one, 0 at first, so the function is the same at the start. `add_missing` off
  trains only the biases that the model has.
- A bias of a key projection shifts all scores of a query alike, which softmax undoes, unless a rotary embedding follows
  it. It is trained like the others, as in the paper.
- Biases are not quantised, so BitFit goes over every precision of the base. They are a part of the model from the
  start; merging only makes its config say so. Where the config has no field for them (Qwen2's output projection), a
  file of the merged model would be read without them, so that is refused.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import MergeRefusedError, OptionError
from semtune.methods._norms import block_norms, outer_norms
from semtune.methods._targets import chosen_paths
from semtune.methods._trained_part import TrainedPart
from semtune.models.saving import BIAS_FLAGS
from semtune.nn.linear import as_linear_layer
from semtune.records import MethodSettings, option

_FLAGS = (*((flag,) for flag in BIAS_FLAGS), BIAS_FLAGS)
"""The combinations of these fields of a config that are tried."""


@dataclass(frozen=True, slots=True)
class BitFitSettings(MethodSettings):
    """Options of BitFit."""

    targets: tuple[str, ...] = option(
        ("all-linear",),
        help="Linear layers whose biases are trained, comma separated, such as q_proj,down_proj; all-linear is all of "
        "the decoder's.",
    )
    norms: bool = option(True, help="Train the biases of the norms too, where they have any.")
    add_missing: bool = option(True, help="Give linear layers without a bias one that is 0 at first.")


class BitFit(TrainedPart[BitFitSettings]):
    """Trains biases of linear layers and norms."""

    Settings = BitFitSettings
    freezes_linears = True

    def select(self, loaded: LoadedModel, settings: BitFitSettings) -> list[nn.Parameter]:
        """The biases; missing ones are added. Raises TargetError, OptionError."""
        found = _layers(loaded)
        paths = chosen_paths(found, settings.targets, everything="all-linear", kind="linear layer")
        layers = [module for path, module in found.items() if path in paths]
        norms = {**block_norms(loaded), **outer_norms(loaded)} if settings.norms else {}
        carriers = [module for module in (*layers, *norms.values()) if _bias(module) is not None]
        if settings.add_missing:
            missing = [module for module in layers if _bias(module) is None]
            for module in missing:
                _add_bias(module)
            carriers += missing
        if not carriers:
            raise OptionError(
                "The chosen layers of this model have no biases to train; leave add_missing at true, which adds them"
            )
        return [bias for module in carriers if (bias := _bias(module)) is not None]

    def merge(self, model: nn.Module) -> None:
        """Make the model's config declare the biases that were added; a layer that then needs one gets one of 0.

        Raises MergeRefusedError where the config cannot, before anything is changed.
        """
        found = {name for name, _ in model.named_parameters() if name.endswith(".bias")}
        declared = _declared_biases(model)
        if found <= declared:
            return
        for flags in _FLAGS:
            offered = _declared_biases(model, flags)
            if found <= offered:
                for name in offered - found:
                    _add_bias(model.get_submodule(name.rpartition(".")[0]))
                _set(model.config, flags)
                return
        raise MergeRefusedError(
            f"{min(found - declared)} was added to the model, whose config has no field for it, so a file of the "
            "merged model would be read without it; predict with the biases beside the base model"
        )


def _declared_biases(model: nn.Module, flags: tuple[str, ...] = ()) -> set[str]:
    """Names of the biases that transformers makes for the model's config, and for these flags of it beside."""
    config: Any = copy.deepcopy(model.config)
    _set(config, flags)
    cls: Any = type(model)
    with torch.device("meta"):
        return {name for name, _ in cls(config).named_parameters() if name.endswith(".bias")}


def _set(config: Any, flags: tuple[str, ...]) -> None:
    """Set those of `flags` that the config has."""
    text = config.get_text_config()
    for flag in flags:
        if hasattr(text, flag):
            setattr(text, flag, True)


def _layers(loaded: LoadedModel) -> dict[str, nn.Module]:
    """The blocks' linear layers, and other modules with a bias that are no norms (GPT-2's Conv1D), by module path."""
    linears, norms = loaded.linears(), block_norms(loaded)
    inside = {id(module) for block in loaded.blocks() for module in block.modules()}
    return {
        path: module
        for path, module in loaded.model.named_modules()
        if path in linears or (id(module) in inside and path not in norms and _bias(module) is not None)
    }


def _bias(module: nn.Module) -> nn.Parameter | None:
    return module._parameters.get("bias")


def _add_bias(module: nn.Module) -> None:
    """A bias of 0 for a linear layer, in the dtype of its results."""
    layer = as_linear_layer(module)
    zeros = torch.zeros(layer.out_features, dtype=layer.compute_dtype, device=layer.device)
    module.register_parameter("bias", nn.Parameter(zeros))


BITFIT = BitFit(
    name="bitfit",
    presets={
        # Not in the original experiment: its precision and the paper's highest learning rate.
        "report": BitFitSettings(precision="bf16", master_weights=True, learning_rate=1e-3),
        "default": BitFitSettings(precision="auto", master_weights=True, learning_rate=1e-3),
    },
    preset_notes={"report": ("preset report: BitFit was not part of the original experiment",)},
)
