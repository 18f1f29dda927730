"""A model of a few layers, planned and run for real, both watched by the same recorder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from semtune.approaches.tuned_model import TunedModel
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.fake_model import with_layers
from semtune.models.locate import locate_config
from semtune.plan.phases import Base
from semtune.plan.trace import Trace, trace
from semtune.plan.workload import SPACE, filled_workload
from semtune.records import RunSpec
from semtune.specs import method_settings, resolve, spec_from

LAYERS = 7


@dataclass
class Toy:
    """SmolLM2's shape made small, with an own number of layers."""

    config: Any
    traced: dict[str, dict[str, Trace]] = field(default_factory=dict)
    """By kind of device and config; shared by all tests, as the same toy is planned again and again."""

    def spec(self, **options: Any) -> RunSpec:
        given = {"precision": "fp32", "batch_size": 3, "max_length": 24, "max_new_tokens": 5, "prepack": False}
        return resolve(spec_from({"task": "practice", **given, **options}, "the test", shared=True))

    def base(self, spec: RunSpec, *, gpu: bool = False) -> Base:
        settings = method_settings(spec)
        tokenizer = ApproximateTokenizer(int(self.config.vocab_size))
        return Base(
            self.config, "toy", settings.precision, torch.float32, gpu, torch.float32, tokenizer,
            last_blocks_apart=settings.last_blocks_apart,
        )  # fmt: skip

    def trace(self, spec: RunSpec, *, gpu: bool = False) -> Trace:
        return trace(
            self.base(spec, gpu=gpu),
            lambda loaded: TunedModel(spec, loaded, SPACE),
            lambda readout: filled_workload(readout, spec),
        )


@pytest.fixture(scope="session")
def traced() -> dict[str, dict[str, Trace]]:
    return {}


@pytest.fixture
def toy(traced: dict[str, dict[str, Trace]]) -> Toy:
    config = with_layers(locate_config("shape:smollm2-135m"), LAYERS)
    config.hidden_size, config.intermediate_size, config.vocab_size = 96, 160, 1000
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 6, 2, 16
    return Toy(config, traced)
