"""The last blocks of the decoder and its final norm are trained in full, all that lies below is frozen.

The oldest reference of transfer learning (Yosinski et al. 2014, arXiv:1411.1792). Lee et al. (2019, arXiv:1911.03090)
measured it for BERT and RoBERTa: the last quarter of the blocks reaches 90% of full fine-tuning's quality.

- Backward ends at the first trained block, so neither time nor activations of the lower blocks are spent on it.
- `train_head` trains the output embedding too. Where it is tied to the input embedding that would train what the first
  block reads, and so is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import OptionError
from semtune.methods._norms import outer_norms
from semtune.methods._trained_part import TrainedPart
from semtune.nn.linear import train_refusal
from semtune.records import MethodSettings, option
from semtune.records.options import MOST
from semtune.registry import QUANTIZATIONS


@dataclass(frozen=True, slots=True)
class LastLayersSettings(MethodSettings):
    """Options of tuning the last blocks."""

    blocks: int = option(
        4, unit="blocks", at_least=1, at_most=MOST,
        help="Blocks that are trained, counted from the last; a model with fewer is trained in all of them.",
    )  # fmt: skip
    train_head: bool = option(
        False, help="Train the output embedding (LM head) too, where the model has one of its own."
    )

    @property
    def last_blocks_apart(self) -> int:
        """See `MethodSettings`."""
        return self.blocks


class LastLayers(TrainedPart[LastLayersSettings]):
    """Trains the last blocks, the final norm and, optionally, the LM head."""

    Settings = LastLayersSettings

    def check_settings(self, settings: LastLayersSettings) -> None:
        """Raises OptionError over a base that a quantisation rounds: the result would pass for tuning of that model."""
        if settings.precision in QUANTIZATIONS:
            raise OptionError(
                f"Blocks whose weights were rounded to {settings.precision} cannot be trained; choose precision fp32 "
                "or bf16, or a method that trains adapters beside them (qlora)"
            )

    def select(self, loaded: LoadedModel, settings: LastLayersSettings) -> list[nn.Parameter]:
        """The parameters of the last blocks, the final norm and the head. Raises OptionError."""
        self.check_settings(settings)
        trained: list[nn.Module] = [*loaded.blocks()[-settings.blocks :], *outer_norms(loaded).values()]
        if settings.train_head:
            trained.append(_own_head(loaded.model))
        refusal = train_refusal(inner for part in trained for inner in part.modules())
        if refusal is not None:
            raise OptionError(f"The last blocks cannot be trained, as they have {refusal}")
        return [parameter for module in trained for parameter in module.parameters()]


def _own_head(model: nn.Module) -> nn.Module:
    """The output embedding. Raises OptionError where it is the input embedding too, or there is none."""
    head: nn.Module | None = model.get_output_embeddings()  # type: ignore[operator]
    embedding: nn.Module | None = model.get_input_embeddings()  # type: ignore[operator]
    if head is None or (embedding is not None and head.weight is embedding.weight):
        raise OptionError(
            "This model's output embedding is its input embedding too, so it cannot be trained above frozen blocks; "
            "leave train_head out"
        )
    return head


LAST_LAYERS = LastLayers(
    name="last-layers",
    presets={
        # Not in the original experiment. "report" has full tuning's settings, for a comparison of what is trained.
        "report": LastLayersSettings(precision="bf16", master_weights=False, learning_rate=2e-5),
        "default": LastLayersSettings(precision="auto", master_weights=True, learning_rate=5e-4),
    },
    preset_notes={
        "report": (
            "preset report: tuning the last blocks was not part of the original experiment; it has the settings of "
            "its full tuning here",
        )
    },
)
