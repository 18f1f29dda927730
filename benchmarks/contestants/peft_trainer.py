"""PEFT and transformers' Trainer, as their documentation shows them.

Variants: lora-fp32, lora-bf16 (weights in bf16, adapters in fp32, PEFT's default), dora-bf16, qlora (bitsandbytes NF4,
double quantisation, products in bf16), full-fp32, full-bf16, and tuned: lora-grouped (bf16, batches of like length) and
lora-flat (the same with texts flattened into one row, transformers' DataCollatorWithFlattening; the mask of its sdpa
keeps them apart). Those that end in -fp32 have weights and products in fp32, for machines that do not multiply bf16.
`peft_methods` has PEFT's other methods.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.contestants.common import RECIPE, Settings, read_data, run_program

VARIANTS: dict[str, dict[str, Any]] = {
    "lora-fp32": {"dtype": "float32"},
    "lora-bf16": {"dtype": "bfloat16"},
    "lora-grouped": {"dtype": "bfloat16", "grouped": True},
    "lora-flat": {"dtype": "bfloat16", "grouped": True, "flat": True},
    "lora-grouped-fp32": {"dtype": "float32", "grouped": True},
    "lora-flat-fp32": {"dtype": "float32", "grouped": True, "flat": True},
    "dora-bf16": {"dtype": "bfloat16", "dora": True},
    "dora-fp32": {"dtype": "float32", "dora": True},
    "qlora": {"dtype": "bfloat16", "four_bit": True},
    "qlora-fp32": {"dtype": "float32", "four_bit": True},
    "qlora-prepared": {"dtype": "bfloat16", "four_bit": True, "prepare": True},
    "full-fp32": {"dtype": "float32", "full": True},
    "full-bf16": {"dtype": "bfloat16", "full": True},
}


def adapter_config(*, dora: bool = False) -> Any:
    """PEFT's LoraConfig of the common recipe."""
    from peft import LoraConfig

    return LoraConfig(
        r=RECIPE["rank"], lora_alpha=RECIPE["alpha"], lora_dropout=RECIPE["dropout"],
        target_modules=list(RECIPE["targets"]), task_type="CAUSAL_LM", use_dora=dora,
    )  # fmt: skip


def load_base(data: Any, dtype: str, *, four_bit: bool = False, **options: Any) -> Any:
    """The default model in a dtype of torch, or with bitsandbytes' 4-bit layers that multiply in it."""
    import torch
    from transformers import BitsAndBytesConfig

    from benchmarks.contestants.hf import load_model

    if four_bit:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )  # fmt: skip
        options["device_map"] = "cpu"
    return load_model(data, getattr(torch, dtype), **options)


def load(variant: dict[str, Any], data: Any) -> Any:
    """The base model with the variant's adapters."""
    from peft import get_peft_model, prepare_model_for_kbit_training

    model = load_base(data, variant["dtype"], four_bit=bool(variant.get("four_bit")))
    if variant.get("prepare"):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if variant.get("full"):
        return model
    return get_peft_model(model, adapter_config(dora=bool(variant.get("dora"))))


def main(settings: Settings) -> dict[str, Any]:
    """Step times and memory of one variant."""
    from transformers import Trainer

    from benchmarks.contestants import hf

    variant = VARIANTS[settings.variant]
    if variant.get("four_bit"):
        import bitsandbytes  # noqa: F401 - part of the bare runtime
    flat = bool(variant.get("flat"))

    def trainer_class(data: Any) -> type[Any]:
        return hf.sampled(Trainer, data, settings, padded=not flat)

    found = train(
        settings, lambda data: load(variant, data), trainer_class, flat=flat, grouped=bool(variant.get("grouped"))
    )
    return {**found, "dtype": variant["dtype"]}


def train(
    settings: Settings,
    load_variant: Callable[[Any], Any],
    trainer_class: Callable[[Any], type[Any]],
    *,
    flat: bool = False,
    grouped: bool = False,
) -> dict[str, Any]:
    """What a training contestant reports, of the model that `load_variant` makes of the prepared data."""
    import peft  # noqa: F401 - part of the bare runtime
    import torch
    from transformers import DataCollatorForSeq2Seq, DataCollatorWithFlattening, TrainingArguments

    from benchmarks.contestants import hf
    from semtune.measure.memory import PhaseMeter

    torch.set_num_threads(settings.threads)
    data = read_data(settings.work)
    tokenizer, rows = hf.load_tokenizer(data), hf.dataset(data)
    if flat:
        rows = rows.remove_columns("attention_mask")
        collator: Any = DataCollatorWithFlattening()
    else:
        collator = DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100)
    meter = PhaseMeter()
    with meter.phase("load"):
        model = load_variant(data)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=settings.total_steps, per_device_train_batch_size=settings.batch_size,
            seed=settings.seed, train_sampling_strategy="group_by_length" if grouped else "random",
            **hf.COMMON_ARGUMENTS,
        )  # fmt: skip
        trainer = trainer_class(data)(
            model=model, args=arguments, train_dataset=rows, data_collator=collator, processing_class=tokenizer
        )
        return hf.train_and_measure(trainer, meter, settings)


if __name__ == "__main__":
    run_program(main)
