"""QA-LoRA: adapters over a group-quantised base that merge exactly into 4 bits (Xu et al. 2023, arXiv:2309.14717).

The base is in precision int4 (`nn.int4`): 4-bit codes, and a scale and a float zero point for each row and group of 32
inputs. An adapter sees the sums of the groups (`nn.group_pooled`, which also says which of the three scalings in
circulation this is), so what it adds to a group's weights is one number, and merging changes zero points alone:

    zero' = zero - s (B A) / scale

The merged model has the same codes, the same bytes and, up to the rounding of the zero points (fp32), the outputs of
base and adapter. The paper quantises with GPTQ, which needs calibration data; here the base is rounded to the nearest
level, as the base of QLoRA is.

Files are semtune's own. PEFT's `use_qalora` scales the pooled input by a factor that differs among layers, works over
GPTQ layers alone and cannot be merged, so its files describe other functions over another base.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import ModelError, OptionError, TargetError
from semtune.methods._files import read_tensors, write_tensors
from semtune.methods._low_rank import check_settings, nothing_to_wrap, resolve_targets
from semtune.methods._peft_config import read_config
from semtune.nn.group_pooled import GroupPooledLinear
from semtune.nn.linear import Int4Linear
from semtune.records import MethodSettings, option
from semtune.records.options import MOST
from semtune.runtime.files import write_json

CONFIG_FILE = "qa_lora_config.json"
WEIGHTS_FILE = "qa_lora.safetensors"


@dataclass(frozen=True, slots=True)
class QALoRASettings(MethodSettings):
    """QA-LoRA's options; the group size is the quantisation's."""

    rank: int = option(16, at_least=1, at_most=MOST, help="Rank of the adapters.")
    alpha: float = option(32.0, above=0, help="The low-rank product is scaled by alpha / rank.")
    dropout: float = option(
        0.0, at_least=0, below=1, help="Probability of dropout on the adapters' pooled input, while training."
    )
    targets: tuple[str, ...] = option(
        ("all-linear",),
        help="Linear layers that carry adapters, comma separated, such as q_proj,v_proj; all-linear is all of the "
        "decoder's.",
    )


class QALoRAMethod:
    """Low-rank adapters on group-wise sums of the inputs of INT4 layers."""

    name = "qa-lora"
    Settings = QALoRASettings
    freezes_linears = True

    def __init__(
        self, presets: Mapping[str, QALoRASettings], preset_notes: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.presets = presets
        self.preset_notes = preset_notes or {}

    def attach(self, loaded: LoadedModel, settings: QALoRASettings) -> None:
        """Freeze the whole model and wrap the targets in `GroupPooledLinear`; everything is checked before any change.

        Raises TargetError for a target that matches nothing, OptionError for a base that is not in int4 and for an
        impossible rank, alpha or dropout.
        """
        linears = loaded.linears()
        if not linears:
            raise TargetError(nothing_to_wrap(loaded.model))
        bases = resolve_targets(linears, settings.targets)
        check_settings(bases, settings.rank, settings.alpha, settings.dropout)
        int4 = {path: base for path, base in bases.items() if isinstance(base, Int4Linear)}
        if len(int4) < len(bases):
            raise OptionError(
                "QA-LoRA merges into the float zero points of 4-bit groups, which only --precision int4 has; leave "
                "--precision out, or choose lora or qlora for another precision."
            )
        loaded.model.requires_grad_(False)
        for path, base in int4.items():
            adapter = GroupPooledLinear(base, settings.rank, settings.alpha, settings.dropout)
            loaded.model.set_submodule(path, adapter.train(base.training))

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The adapters' parameters, by their name in `model`."""
        return {
            f"{path}.{name}": parameter
            for path, adapter in adapters(model).items()
            for name, parameter in adapter.named_parameters(recurse=False)
        }

    def merge(self, model: nn.Module) -> None:
        """Merge every adapter into its base layer's zero points, in place; all layers stay in 4 bits."""
        for path, adapter in adapters(model).items():
            model.set_submodule(path, adapter.merged())

    def save(self, model: nn.Module, folder: Path, settings: QALoRASettings, base_model: str) -> None:
        """Write the adapters as safetensors, and a config that says how to use them. Raises OutputError."""
        config = {
            "method": self.name,
            "base_model": base_model,
            "rank": settings.rank,
            "alpha": settings.alpha,
            "group_size": Int4Linear.group_size,
            "pooling": "sum",
        }
        # Weights first: a config without weights would look like a finished adapter.
        write_tensors(folder / WEIGHTS_FILE, self.trainable(model))
        write_json(folder / CONFIG_FILE, config, indent=2)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read what `save` wrote into an attached model of the same settings. Raises ModelError before any change."""
        _check_config(adapters(model), folder / CONFIG_FILE)
        read_tensors(folder / WEIGHTS_FILE, self.trainable(model))


def adapters(model: nn.Module) -> dict[str, GroupPooledLinear]:
    """Every adapter of `model`, by module path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, GroupPooledLinear)}


def _check_config(found: Mapping[str, GroupPooledLinear], path: Path) -> None:
    """Raises ModelError unless the config at `path` describes the adapters `found`."""
    config = read_config(path)
    rank, alpha = config.get("rank"), config.get("alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise ModelError(f"{path} does not say rank and alpha as numbers; give the folder of a finished run.")
    if (config.get("group_size"), config.get("pooling")) != (Int4Linear.group_size, "sum"):
        raise ModelError(
            f"{path} is not over sums of groups of {Int4Linear.group_size} inputs; give an adapter that semtune tuned"
        )
    for adapter in found.values():
        if adapter.rank != rank:
            raise ModelError(f"{path} is of rank {rank}, the model was prepared for {adapter.rank}; give rank {rank}")
        if not math.isclose(adapter.scale, alpha / rank):
            expected = adapter.scale * rank
            raise ModelError(f"{path} has alpha {alpha}, the model was prepared for {expected:g}; give alpha {alpha}")


QA_LORA = QALoRAMethod(
    presets={
        # Not in the original experiment: its LoRA settings, for a comparison that changes one thing.
        "report": QALoRASettings(
            precision="int4", learning_rate=2e-4, rank=8, alpha=32.0, dropout=0.05, targets=("q_proj", "v_proj")
        ),
        "default": QALoRASettings(
            precision="int4", learning_rate=5e-4, rank=16, alpha=32.0, dropout=0.05, targets=("all-linear",)
        ),
    },
    preset_notes={
        "report": (
            "preset report: QA-LoRA was not part of the original experiment; it has the settings of its QLoRA here",
        )
    },
)
