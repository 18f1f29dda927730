"""LN-tuning: the weights (and biases) of the norms alone are trained (Zhao et al. 2024, arXiv:2312.11420).

- RMSNorm's scale counts as LayerNorm's does: today's decoders have nothing else.
- The default is every norm of the decoder, the final one included, as PEFT's mapping for Llama has it; the paper names
  those of the attention blocks. Norms of queries and keys (Qwen3) are among them; `targets` narrows it down.
- Norms are never quantised, so it goes over every precision of the base, and there is nothing to merge.
- Files are PEFT's: `base_model.model.PATH.ln_tuning_layers.weight` for the norm at PATH.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from semtune.contracts import LoadedModel
from semtune.methods._files import read_tensors, write_tensors
from semtune.methods._norms import block_norms, outer_norms
from semtune.methods._peft_common import PREFIX, check_kind, head_of_config, module_names
from semtune.methods._peft_config import read_config
from semtune.methods._peft_files import CONFIG_FILE, WEIGHTS_FILE
from semtune.methods._targets import chosen_paths
from semtune.methods._trained_part import TrainedPart
from semtune.records import MethodSettings, option
from semtune.runtime.files import write_json

KIND = "LN_TUNING"


@dataclass(frozen=True, slots=True)
class LNTuningSettings(MethodSettings):
    """Options of LN-tuning."""

    targets: tuple[str, ...] = option(
        ("all-norms",),
        help="Norms that are trained, comma separated, such as input_layernorm; all-norms is all of the decoder's.",
    )


class LNTuning(TrainedPart[LNTuningSettings]):
    """Trains the parameters of norms; its files are PEFT's."""

    Settings = LNTuningSettings
    freezes_linears = True

    def select(self, loaded: LoadedModel, settings: LNTuningSettings) -> list[nn.Parameter]:
        """The parameters of the norms. Raises TargetError, OptionError."""
        norms = {**block_norms(loaded), **outer_norms(loaded)}
        paths = chosen_paths(norms, settings.targets, everything="all-norms", kind="norm")
        return [parameter for path, norm in norms.items() if path in paths for parameter in norm.parameters()]

    def save(self, model: nn.Module, folder: Path, settings: LNTuningSettings, base_model: str) -> None:
        """Write the norms in PEFT's file format. Raises OutputError."""
        paths = {name.rpartition(".")[0] for name in self.trainable(model)}
        config = {**head_of_config(KIND, base_model), "target_modules": module_names(model, paths)}
        # Weights first: a config without weights would look like a finished adapter.
        write_tensors(folder / WEIGHTS_FILE, self._by_peft_name(model))
        write_json(folder / CONFIG_FILE, config, indent=2)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read norms in PEFT's file format into an attached model. Raises ModelError before any is changed."""
        path = folder / CONFIG_FILE
        check_kind(read_config(path), path, KIND)
        read_tensors(folder / WEIGHTS_FILE, self._by_peft_name(model))

    def _by_peft_name(self, model: nn.Module) -> dict[str, Tensor]:
        named = ((*name.rpartition(".")[::2], parameter) for name, parameter in self.trainable(model).items())
        return {f"{PREFIX}{path}.ln_tuning_layers.{leaf}": parameter for path, leaf, parameter in named}


LN_TUNING = LNTuning(
    name="ln-tuning",
    presets={
        # Not in the original experiment: its precision.
        "report": LNTuningSettings(precision="bf16", master_weights=True, learning_rate=1e-3),
        "default": LNTuningSettings(precision="auto", master_weights=True, learning_rate=3e-3),
    },
    preset_notes={"report": ("preset report: LN-tuning was not part of the original experiment",)},
)
