"""A tuned model: model × method × prompt × readout, put together from their registries; runs and plans use it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import Parameter

from semtune.approaches.base_identity import check_identity, write_identity
from semtune.contracts import LoadedModel, Method, Prompt, Readout, freezes_linears
from semtune.measure.machine import total_memory_bytes
from semtune.models.loading import load
from semtune.models.positions import check_positions
from semtune.nn.linear import stored_numel, total_numel
from semtune.records import Example, Prediction, RunSpec, TargetSpace
from semtune.registry import METHODS, OPTIMIZERS, PROMPTS, READOUTS
from semtune.specs import check_optimizer, method_settings, optimizer_settings, prompt_settings, readout_settings
from semtune.training.rule import OptimizerChoice, ParameterGroup


class TunedModel:
    """A base model with a method (adapters, for example) and a readout attached: what is trained and what predicts."""

    def __init__(self, spec: RunSpec, loaded: LoadedModel, space: TargetSpace) -> None:
        """Attach method and readout to a loaded model. `spec` is resolved. Raises TargetError, OptionError."""
        check_optimizer(spec)
        self.spec, self.loaded = spec, loaded
        self.settings = method_settings(spec)
        self.method: Method = METHODS.get(spec.method)
        prompt_class, readout_class = PROMPTS.get(spec.prompt), READOUTS.get(spec.readout)
        prompt: Prompt = prompt_class(space, prompt_settings(spec))
        seed_everything(spec.seed)  # before heads and adapters are made, so that their initial weights depend on it
        self.readout: Readout = readout_class(loaded, prompt, space, readout_settings(spec))
        note = check_positions(loaded.model.config, spec.max_length, new_tokens=self.readout.max_new_tokens)
        if note is not None:
            loaded.notes = (*loaded.notes, note)
        loaded.activation_checkpointing = spec.activation_checkpointing
        self.method.attach(loaded, self.settings)
        loaded.prepack_frozen(spec.prepack, memory_bytes=total_memory_bytes())

    @classmethod
    def build(cls, spec: RunSpec, space: TargetSpace) -> TunedModel:
        """Load the base model as `spec` says and attach. Raises ModelError, TargetError, OptionError."""
        loaded = load(
            spec.model,
            precision=method_settings(spec).precision,
            seed=spec.seed,
            device=spec.device,
            trust_remote_code=spec.trust_remote_code,
            revision=spec.revision,
            offload_bytes=spec.offload_bytes,
            frozen=freezes_linears(METHODS.get(spec.method)),
        )
        return cls(spec, loaded, space)

    def predict(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`, without dropout."""
        self.loaded.model.eval()
        return self.readout.answer(examples, progress)

    def save(self, folder: Path) -> None:
        """Write the trained parameters of method and readout to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.method.save(self.loaded.model, folder, self.settings, self.loaded.name)
        self.readout.save(folder)
        write_identity(self.loaded, folder)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError, also where the base model is another one than then."""
        check_identity(self.loaded, folder, weights=self._uses_base_weights)
        self.method.load(self.loaded.model, folder)
        self.readout.load(folder)

    @property
    def _uses_base_weights(self) -> bool:
        """Whether predictions depend on weights that `save` does not write: some of the base's are frozen."""
        model = self.loaded.model
        return stored_numel(model) > 0 or not all(p.requires_grad for p in model.parameters())

    def merge(self) -> None:
        """Merge the adapters into the base weights; the model then only predicts. Raises MergeRefusedError."""
        self.method.merge(self.loaded.model)
        self.loaded.model.requires_grad_(False)
        self.loaded.prepack_frozen(self.spec.prepack, memory_bytes=total_memory_bytes(), backward=False)

    def groups(self) -> list[ParameterGroup]:
        """The trained parameters of method and readout, with their learning rates.

        Where the method has none, those of the readout get what it would have given its own.
        """
        s = self.settings
        method_parameters = self.method.trainable(self.loaded.model)
        groups = [
            ParameterGroup(parameters, s.learning_rate * factor, s.weight_decay, s.master_weights)
            for factor, parameters in self._by_learning_rate(method_parameters).items()
        ]
        own = self.readout.trainable()
        if own and not groups:
            groups.append(ParameterGroup(own, s.learning_rate, s.weight_decay))
        elif own:
            groups.append(ParameterGroup(own, self.readout.learning_rate() or s.learning_rate, adamw=True))
        return groups

    @property
    def optimizer_choice(self) -> OptimizerChoice:
        """How gradients become updates."""
        s = self.spec
        return OptimizerChoice(OPTIMIZERS.get(s.optimizer), optimizer_settings(s), s.fused_update, s.fused_clip)

    def _by_learning_rate(self, parameters: Mapping[str, Parameter]) -> dict[float, dict[str, Parameter]]:
        """Factor on the method's learning rate -> its parameters with that factor, factor 1 first."""
        factors_of = getattr(self.method, "learning_rate_factors", None)
        factors = {} if factors_of is None else factors_of(self.loaded.model, self.settings)
        found: dict[float, dict[str, Parameter]] = {1.0: {}}
        for name, parameter in parameters.items():
            found.setdefault(factors.get(name, 1.0), {})[name] = parameter
        return {factor: members for factor, members in found.items() if members}

    def trainable_parameters(self) -> int:
        """Number of trained scalars."""
        return sum(p.numel() for group in self.groups() for p in group.parameters.values())

    def total_parameters(self) -> int:
        """Number of scalars of the base model and all that is attached; a 4-bit weight counts as if dequantised."""
        return total_numel(self.loaded.model) + sum(p.numel() for p in self.readout.trainable().values())


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
