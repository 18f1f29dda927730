"""Base class of the methods that put sequential bottleneck adapters into a decoder: houlsby, pfeiffer. Their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import MergeRefusedError, ModelError, OptionError
from semtune.methods._files import read_tensors, write_tensors
from semtune.methods._peft_config import read_config
from semtune.nn.bottleneck import CHILD, Bottleneck, append_bottleneck, bottleneck_parameters, bottlenecks
from semtune.records import MethodSettings, option
from semtune.records.options import MOST
from semtune.runtime.files import write_json

WEIGHTS_FILE = "bottleneck.safetensors"
CONFIG_FILE = "bottleneck.json"


@dataclass(frozen=True, slots=True)
class BottleneckSettings(MethodSettings):
    """Options of bottleneck adapters."""

    reduction_factor: int = option(
        16, at_least=1, at_most=MOST, help="The bottleneck is the hidden size divided by this, rounded down."
    )
    activation: Literal["relu", "swish"] = option("swish", help="The function between the adapter's two layers.")


class BottleneckMethod:
    """Frozen model, trained adapters behind the modules that a subclass names."""

    Settings = BottleneckSettings
    freezes_linears = True

    def __init__(
        self,
        name: str,
        presets: Mapping[str, BottleneckSettings],
        preset_notes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.name = name
        self.presets = presets
        self.preset_notes = preset_notes or {}
        self.merge_refusal = (
            f"{name} cannot be merged: its adapters are nonlinear, so no plain weight computes the same; predict with "
            "the adapters beside the base model"
        )

    def carriers(self, loaded: LoadedModel) -> list[nn.Module]:
        """The modules behind which adapters stand, in the model's order. Raises TargetError."""
        raise NotImplementedError

    def attach(self, loaded: LoadedModel, settings: BottleneckSettings) -> None:
        """Freeze the whole model and add the adapters; everything is checked before any change.

        Raises TargetError, OptionError.
        """
        config: Any = loaded.model.config.get_text_config()  # type: ignore[operator, union-attr]
        width = int(config.hidden_size)
        if settings.reduction_factor > width:
            raise OptionError(
                f"The reduction factor must be at most {width}, the hidden size, not {settings.reduction_factor}"
            )
        carriers = self.carriers(loaded)
        if any(hasattr(module, CHILD) for module in carriers):
            raise OptionError("The model carries bottleneck adapters already; load the base model anew")
        loaded.model.requires_grad_(False)
        for module in carriers:
            adapter = Bottleneck(
                width,
                width // settings.reduction_factor,
                activation=settings.activation,
                dtype=loaded.compute_dtype,
                device=loaded.device,
            )
            append_bottleneck(module, adapter.train(module.training))

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The adapters' parameters, by their name in `model`."""
        return bottleneck_parameters(model)

    def merge(self, model: nn.Module) -> None:
        """Raises MergeRefusedError, with `merge_refusal`."""
        raise MergeRefusedError(self.merge_refusal)

    def save(self, model: nn.Module, folder: Path, settings: BottleneckSettings, base_model: str) -> None:
        """Write the adapters by their names in the model, and what they compute. Raises OutputError."""
        write_tensors(folder / WEIGHTS_FILE, self.trainable(model))
        write_json(folder / CONFIG_FILE, self._config(settings.activation), indent=2)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read what `save` wrote into an attached model. Raises ModelError, before any adapter was changed."""
        adapters = bottlenecks(model)
        found = read_config(folder / CONFIG_FILE)
        expected = self._config(next(iter(adapters.values())).activation)
        if different := sorted(key for key, value in expected.items() if found.get(key) != value):
            raise ModelError(
                f"{folder / CONFIG_FILE} says {different[0]} {found.get(different[0])}, the model was prepared for "
                f"{expected[different[0]]}; give the method and options that it was made with"
            )
        read_tensors(folder / WEIGHTS_FILE, self.trainable(model))

    def _config(self, activation: str) -> dict[str, str]:
        """What the file must agree on beside names and shapes of tensors."""
        return {"method": self.name, "activation": activation}
