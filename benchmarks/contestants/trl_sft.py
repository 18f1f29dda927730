"""TRL's SFTTrainer with a PEFT adapter, on data that is already tokenised, loss on the completion alone.

Variants: lora (its default, bf16 autocast over weights loaded in bf16), lora-pure (the same without autocast), and
tuned: lora-tuned (batches of like length, padding-free); each in fp32 too, for machines that do not multiply bf16. The
loss of TRL 1.16 ("nll") is chunked by itself: the logits of all positions never exist at once. Its padding-free mode is
documented for flash attention; on a CPU it runs with sdpa, whose mask transformers makes from the position ids, so that
texts stay apart.
"""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.contestants.common import Settings, read_data, run_program

VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {"bf16": True},
    "lora-pure": {"bf16": False},
    "lora-tuned": {"bf16": True, "tuned": True},
    "lora-tuned-pure": {"bf16": False, "tuned": True},
    "lora-fp32": {"bf16": False, "dtype": "float32"},
    "lora-tuned-fp32": {"bf16": False, "tuned": True, "dtype": "float32"},
}


def main(settings: Settings) -> dict[str, Any]:
    """Step times and memory of one variant."""
    import torch
    from trl import SFTConfig, SFTTrainer

    from benchmarks.contestants import hf
    from benchmarks.contestants.peft_trainer import adapter_config
    from semtune.measure.memory import PhaseMeter

    torch.set_num_threads(settings.threads)
    variant, data = VARIANTS[settings.variant], read_data(settings.work)
    tuned = bool(variant.get("tuned"))
    own: dict[str, Any] = {"bf16": variant["bf16"], "completion_only_loss": True}
    if tuned:  # padding-free mode wants the texts cut beforehand, as they are here
        own |= {"padding_free": True, "max_length": None, "train_sampling_strategy": "group_by_length"}
    tokenizer = hf.load_tokenizer(data)
    rows = hf.dataset(data)
    masks = [[int(label != -100) for label in labels] for labels in rows["labels"]]
    rows = rows.remove_columns(["attention_mask", "labels"]).add_column("completion_mask", masks)
    dtype = variant.get("dtype", "bfloat16")
    meter = PhaseMeter()
    with meter.phase("load"):
        model = hf.load_model(data, getattr(torch, dtype))
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder, max_steps=settings.total_steps, per_device_train_batch_size=settings.batch_size,
            seed=settings.seed, **own, **hf.COMMON_ARGUMENTS,
        )  # fmt: skip
        trainer = hf.sampled(SFTTrainer, data, settings, padded=not tuned)(
            model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, peft_config=adapter_config()
        )
        return {**hf.train_and_measure(trainer, meter, settings), "dtype": dtype}


if __name__ == "__main__":
    run_program(main)
