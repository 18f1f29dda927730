"""PEFT and transformers' Trainer, as their documentation shows them.

Variants: lora-fp32, lora-bf16 (weights in bf16, adapters in fp32, PEFT's default), dora-bf16, qlora (bitsandbytes NF4,
double quantisation, products in bf16), full-fp32, full-bf16, and tuned: lora-grouped (bf16, batches of like length) and
lora-flat (the same with texts flattened into one row, transformers' DataCollatorWithFlattening; the mask of its sdpa
keeps them apart). Those that end in -fp32 have weights and products in fp32, for machines that do not multiply bf16.
"""

from __future__ import annotations

import tempfile
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


def load(variant: dict[str, Any], data: Any) -> Any:
    """The base model with the variant's adapters."""
    import torch
    from peft import get_peft_model, prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    from benchmarks.contestants.hf import load_model

    options: dict[str, Any] = {}
    if variant.get("four_bit"):
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, variant["dtype"]),
        )  # fmt: skip
        options["device_map"] = "cpu"
    model = load_model(data, getattr(torch, variant["dtype"]), **options)
    if variant.get("prepare"):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if variant.get("full"):
        return model
    return get_peft_model(model, adapter_config(dora=bool(variant.get("dora"))))


def main(settings: Settings) -> dict[str, Any]:
    """Step times and memory of one variant."""
    import torch
    from transformers import DataCollatorForSeq2Seq, DataCollatorWithFlattening, Trainer, TrainingArguments

    from benchmarks.contestants import hf
    from semtune.measure.memory import PhaseMeter

    torch.set_num_threads(settings.threads)
    variant = VARIANTS[settings.variant]
    flat = bool(variant.get("flat"))
    if variant.get("four_bit"):
        import bitsandbytes  # noqa: F401 - part of the bare runtime
    import peft  # noqa: F401

    data = read_data(settings.work)
    tokenizer, rows = hf.load_tokenizer(data), hf.dataset(data)
    if flat:
        rows = rows.remove_columns("attention_mask")
        collator: Any = DataCollatorWithFlattening()
    else:
        collator = DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100)
    meter = PhaseMeter()
    with meter.phase("load"):
        model = load(variant, data)
    strategy = "group_by_length" if variant.get("grouped") else "random"
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=settings.total_steps, per_device_train_batch_size=settings.batch_size,
            seed=settings.seed, train_sampling_strategy=strategy, **hf.COMMON_ARGUMENTS,
        )  # fmt: skip
        trainer = hf.sampled(Trainer, data, settings, padded=not flat)(
            model=model, args=arguments, train_dataset=rows, data_collator=collator, processing_class=tokenizer
        )
        return {**hf.train_and_measure(trainer, meter, settings), "dtype": variant["dtype"]}


if __name__ == "__main__":
    run_program(main)
