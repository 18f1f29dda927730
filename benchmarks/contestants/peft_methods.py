"""Training steps of PEFT's other methods under transformers' Trainer, on `common.same_batches`.

Variants are those of `VARIANTS`; `settings.dtype` is the dtype of weights and products (of the products alone over a
4-bit base). What PEFT does not have is there as the nearest thing that it has, with the reason:

- Houlsby's and Pfeiffer's bottleneck adapters: PEFT has none (0.21). `lora-attention-mlp` and `lora-mlp` are low-rank
  adapters at the same places with the same bottleneck, hidden size / 16: the two products without what is between them.
- BitFit over a model without biases: `beft` adds a vector to what a linear layer gives, as PEFT's BEFT does by default
  for values alone; `biases` is transformers' model with its config's biases, of which nothing else is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.contestants.common import Data, Settings, run_program

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BOTTLENECK_REDUCTION = 16
PREFIX_LENGTH = 30


def main(settings: Settings) -> dict[str, Any]:
    """Step times and memory of one variant."""
    import bitsandbytes  # noqa: F401 - part of the bare runtime, as PEFT's layers import it where it is installed
    from transformers import Trainer

    from benchmarks.contestants import hf, peft_trainer

    def load(data: Data) -> Any:
        return VARIANTS[settings.variant](data, DTYPES[settings.dtype])

    def trainer_class(data: Data) -> type[Any]:
        return hf.in_same_batches(Trainer, data, settings)

    return {**peft_trainer.train(settings, load, trainer_class), "dtype": DTYPES[settings.dtype]}


def _adapted(config: Callable[[Any], Any], *, four_bit: bool = False) -> Callable[[Data, str], Any]:
    """Loads the model with adapters of the configuration that `config` makes for the base model's own."""

    def load(data: Data, dtype: str) -> Any:
        from peft import get_peft_model

        from benchmarks.contestants.peft_trainer import load_base

        model = load_base(data, dtype, four_bit=four_bit)
        return get_peft_model(model, config(model.config))

    return load


def _recipe(*, dora: bool = False) -> Callable[[Any], Any]:
    def config(model_config: Any) -> Any:
        from benchmarks.contestants.peft_trainer import adapter_config

        return adapter_config(dora=dora)

    return config


def _like_bottlenecks(*targets: str) -> Callable[[Any], Any]:
    def config(model_config: Any) -> Any:
        from peft import LoraConfig

        rank = model_config.hidden_size // BOTTLENECK_REDUCTION
        return LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets), task_type="CAUSAL_LM")

    return config


def _ia3(model_config: Any) -> Any:
    from peft import IA3Config

    targets = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    return IA3Config(task_type="CAUSAL_LM", **targets)


def _prefix(model_config: Any) -> Any:
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(num_virtual_tokens=PREFIX_LENGTH, task_type="CAUSAL_LM")


def _norms(model_config: Any) -> Any:
    from peft import LNTuningConfig

    return LNTuningConfig(task_type="CAUSAL_LM")


def _beft(model_config: Any) -> Any:
    from peft import BeftConfig

    return BeftConfig(target_modules=LINEARS, task_type="CAUSAL_LM")


def _biases(data: Data, dtype: str) -> Any:
    """transformers' model with the biases that its config knows, which the weights' file lacks: they start at 0."""
    from benchmarks.contestants.peft_trainer import load_base

    model = load_base(data, dtype, attention_bias=True, mlp_bias=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith(".bias"))
    return model


VARIANTS: dict[str, Callable[[Data, str], Any]] = {
    "lora": _adapted(_recipe()),
    "ia3": _adapted(_ia3),
    "prefix": _adapted(_prefix),
    "lora-attention-mlp": _adapted(_like_bottlenecks("o_proj", "down_proj")),
    "lora-mlp": _adapted(_like_bottlenecks("down_proj")),
    "qdora": _adapted(_recipe(dora=True), four_bit=True),
    "beft": _adapted(_beft),
    "biases": _biases,
    "ln-tuning": _adapted(_norms),
}


if __name__ == "__main__":
    run_program(main)
