"""What a way of tuning offers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from semtune.contracts.model import LoadedModel
from semtune.records import MethodSettings

if TYPE_CHECKING:
    from torch import nn


class Method(Protocol):
    """A way of changing weights. One module-level instance each; state lives in the model, never here."""

    name: str
    Settings: type[MethodSettings]
    """The method's options: a frozen dataclass whose fields are declared with `records.option`."""
    presets: Mapping[str, MethodSettings]
    """Instances of `Settings` by name; "default" and "report" (the original experiment) are always there.

    A method may also have

    - `preset_notes`, a mapping of preset -> sentences for the reader of its results: which values are not the
      experiment's own;
    - `freezes_linears = True`: it never trains the weights of the decoder's linear layers and the embeddings in place,
      so these may be stored in the half precision of their file (`models.half_storage`);
    - `trains_readout_alone = True`: it trains no parameter of the model, so `trainable` is empty and the readout must
      have parameters. These get the method's learning rate and weight decay and the run's optimizer;
    - `start_effect`, why outputs change when it is attached: the end of a sentence. Without it they must not;
    - `merge_refusal`, why `merge` is refused for every model: a sentence that says what to do instead. Without it a
      merge may be refused for the sake of the base's weights alone;
    - `check_settings(settings) -> None`, which raises OptionError for options that cannot be combined. It is called
      before anything is loaded, so `settings` is all it sees;
    - `learning_rate_factors(model, settings) -> Mapping[str, float]`: name of a parameter of `trainable` -> its
      learning rate as a multiple of `settings.learning_rate`; those not named have the factor 1;
    - `start_on_data(model, settings, forwards) -> None`, which is called once before the first step of a training.
      `forwards` is an iterator over (tokens, run): the tokens of a training batch without its padding, and a function
      that runs the model on the batch, in evaluation mode and without gradients. What it changes must be what `save`
      writes.
    """

    def attach(self, loaded: LoadedModel, settings: MethodSettings) -> None:
        """Freeze what stays and add what is trained; no effect on outputs, but for a method with `start_effect`.

        `settings` is a `Settings`. What is drawn at random depends on torch's seed alone.

        A plan runs this on fake tensors: make parameters in their final dtype and device (`Module.to` cannot convert
        fake ones), and read no tensor's values.

        Raises TargetError, OptionError.
        """
        ...

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters this method trains, by name; empty with `trains_readout_alone`."""
        ...

    def merge(self, model: nn.Module) -> None:
        """Fold what was trained into plain weights, in place. Raises MergeRefusedError."""
        ...

    def save(self, model: nn.Module, folder: Path, settings: MethodSettings, base_model: str) -> None:
        """Write what was trained (adapters in PEFT's file format)."""
        ...

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read what `save` wrote into an attached model. Raises ModelError."""
        ...


def freezes_linears(method: Method) -> bool:
    """Whether the method declares that it trains no linear weight of the decoder, and no embedding, in place."""
    return bool(getattr(method, "freezes_linears", False))


def trains_readout_alone(method: Method) -> bool:
    """Whether the method declares that it trains no parameter of the model."""
    return bool(getattr(method, "trains_readout_alone", False))
