"""A tuned model: model × method × prompt × readout, put together from their registries, saved and loaded again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from semtune.contracts import LoadedModel, Method, Prompt, Readout
from semtune.measure.machine import total_memory_bytes
from semtune.models.loading import load
from semtune.nn.linear import stored_numel
from semtune.records import Example, Prediction, RunSpec, TargetSpace
from semtune.registry import METHODS, PROMPTS, READOUTS
from semtune.specs import method_settings, prompt_settings, readout_settings
from semtune.training.optimizer import ParameterGroup


class TunedModel:
    """What a run trains and what `predict` uses."""

    def __init__(self, spec: RunSpec, loaded: LoadedModel, space: TargetSpace) -> None:
        """Attach method and readout to a loaded model. `spec` is resolved. Raises TargetError, OptionError."""
        self.spec, self.loaded = spec, loaded
        self.settings = method_settings(spec)
        self.method: Method = METHODS.get(spec.method)
        prompt_class, readout_class = PROMPTS.get(spec.prompt), READOUTS.get(spec.readout)
        prompt: Prompt = prompt_class(space, prompt_settings(spec))
        seed_everything(spec.seed)  # before adapters are made: their start is part of the run
        self.readout: Readout = readout_class(loaded, prompt, space, readout_settings(spec))
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
            offload_bytes=spec.offload_bytes,
        )
        return cls(spec, loaded, space)

    def predict(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Answers in the order of `examples`."""
        self.loaded.model.eval()
        return self.readout.answer(examples, progress)

    def save(self, folder: Path) -> None:
        """Write what was trained."""
        folder.mkdir(parents=True, exist_ok=True)
        self.method.save(self.loaded.model, folder, self.settings, self.loaded.name)
        self.readout.save(folder)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        self.method.load(self.loaded.model, folder)
        self.readout.load(folder)

    def merge(self) -> None:
        """Fold what was trained into the model, for predicting alone. Raises MergeRefusedError."""
        self.method.merge(self.loaded.model)
        self.loaded.model.requires_grad_(False)
        self.loaded.prepack_frozen(self.spec.prepack, memory_bytes=total_memory_bytes(), backward=False)

    def groups(self) -> list[ParameterGroup]:
        """What is trained, and how fast."""
        s = self.settings
        method_parameters = self.method.trainable(self.loaded.model)
        eight_bit = self.spec.optimizer == "adamw-8bit"
        groups = [ParameterGroup(method_parameters, s.learning_rate, s.weight_decay, s.master_weights, eight_bit)]
        own = self.readout.trainable()
        if own:
            groups.append(ParameterGroup(own, self.readout.learning_rate() or s.learning_rate))
        return groups

    def trainable_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(p.numel() for group in self.groups() for p in group.parameters.values())

    def total_parameters(self) -> int:
        """Numbers in the base model and everything attached; a 4-bit weight's numbers count like any others."""
        stored = stored_numel(self.loaded.model)
        plain = sum(p.numel() for p in self.loaded.model.parameters())  # tied weights once
        return stored + plain + sum(p.numel() for p in self.readout.trainable().values())


def seed_everything(seed: int) -> None:
    """Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
