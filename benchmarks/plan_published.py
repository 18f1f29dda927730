"""The plan beside what others published for CUDA: `python benchmarks/plan_published.py` prints docs/plan.md's table.

No GPU is needed. Settings are those of the publications as far as they tell them; `differs` says what ours cannot be.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

GIB = 1 << 30
LLAMA_33B = {"hidden_size": 6656, "intermediate_size": 17920, "num_hidden_layers": 60, "num_attention_heads": 52}
LLAMA_65B = {"hidden_size": 8192, "intermediate_size": 22016, "num_hidden_layers": 80, "num_attention_heads": 64}


@dataclass(frozen=True)
class Published:
    """One figure of a publication."""

    source: str
    what: str
    said_bytes: float
    model: str
    spec: dict[str, Any]
    differs: str
    config: dict[str, int] = field(default_factory=dict)
    """Of a Llama that is no shipped shape."""
    context: bool = False
    """Whether the figure is the whole card's (nvidia-smi), the CUDA context included."""


_TUNE = {"batch_size": 2, "max_length": 2048, "loss_on": "all", "readout": "generate", "activation_checkpointing": True}
_PAPER = {
    "batch_size": 1, "max_length": 512, "loss_on": "all", "readout": "generate", "activation_checkpointing": True,
    "rank": 64, "method": "qlora",
}  # fmt: skip
_PEFT = {"batch_size": 4, "max_length": 768, "loss_on": "all", "readout": "generate"}
_REPORT = {"batch_size": 8, "max_length": 128, "loss_on": "all", "readout": "generate", "preset": "report"}
_QV = {"targets": ("q_proj", "v_proj")}

PUBLISHED = [
    Published("torchtune", "Llama-3.1-8B full, RTX 4090", 18.9 * GIB, "shape:llama-3.1-8b",
              {**_TUNE, "method": "full", "master_weights": False, "optimizer": "adamw-8bit"},
              "theirs: paged moments, update fused into backward; ours: moments and gradients resident (16 GB each)"),
    Published("torchtune", "Llama-3.1-8B full, A6000", 37.4 * GIB, "shape:llama-3.1-8b",
              {**_TUNE, "method": "full", "master_weights": False, "optimizer": "adamw-8bit"},
              "theirs: 8-bit AdamW as far as known, update fused into backward; ours: all gradients at once (16 GB)"),
    Published("torchtune", "Llama-3.1-8B LoRA, RTX 4090", 16.2 * GIB, "shape:llama-3.1-8b",
              {**_TUNE, "method": "lora", "rank": 8, "targets": ("q_proj", "v_proj", "o_proj"), "dropout": 0.0},
              "theirs: some activations offloaded to main memory, compiled"),
    Published("torchtune", "Llama-3.1-8B QLoRA, RTX 4090", 7.4 * GIB, "shape:llama-3.1-8b",
              {**_TUNE, "method": "qlora", "rank": 8, "targets": ("q_proj", "v_proj", "o_proj"), "dropout": 0.0},
              "theirs: some activations offloaded to main memory, compiled"),
    Published("PEFT comparison", "Llama-3.2-3B LoRA r 32, L40S", 22.3e9, "shape:llama-3.2-3b",
              {**_PEFT, "method": "lora", "rank": 32, "dropout": 0.0, **_QV},
              "theirs: highest reserved, padded batches, fp32 scores of all tokens, evaluation of 50 texts included"),
    Published("PEFT comparison", "Llama-3.2-3B DoRA r 32, L40S", 24.5e9, "shape:llama-3.2-3b",
              {**_PEFT, "method": "dora", "rank": 32, "dropout": 0.0, **_QV}, "as above"),
    Published("PEFT comparison", "Llama-3.2-3B full, L40S", 37.2e9, "shape:llama-3.2-3b",
              {**_PEFT, "method": "full", "master_weights": False}, "as above"),
    Published("QLoRA paper, figure 6", "LLaMA-7B QLoRA", 6.9e9, "shape:llama-2-7b", dict(_PAPER),
              "theirs: a sum of parts (weights, adapters, gradients, paged optimizer), adapters in bf16"),
    Published("QLoRA paper, figure 6", "LLaMA-13B QLoRA", 11.3e9, "shape:llama-2-13b", dict(_PAPER), "as above"),
    Published("QLoRA paper, figure 6", "LLaMA-33B QLoRA", 24.7e9, "shape:llama-2-7b", dict(_PAPER), "as above",
              LLAMA_33B),
    Published("QLoRA paper, figure 6", "LLaMA-65B QLoRA", 45.0e9, "shape:llama-2-7b", dict(_PAPER), "as above",
              LLAMA_65B),
    Published("original report", "Llama-2-7B LoRA", 23.5e9, "shape:llama-2-7b", {**_REPORT, "method": "lora"},
              "theirs: batch, length and stack are not stated; 8 texts of 128 tokens assumed", context=True),
    Published("original report", "Llama-2-7B QLoRA", 14.6e9, "shape:llama-2-7b", {**_REPORT, "method": "qlora"},
              "as above", context=True),
    Published("original report", "Llama-3.2-1B full", 11.8e9, "shape:llama-3.2-1b", {**_REPORT, "method": "full"},
              "as above", context=True),
    Published("original report", "Llama-3.2-1B LoRA", 5.63e9, "shape:llama-3.2-1b", {**_REPORT, "method": "lora"},
              "as above", context=True),
    Published("original report", "Llama-3.2-1B QLoRA", 4.09e9, "shape:llama-3.2-1b", {**_REPORT, "method": "qlora"},
              "as above", context=True),
]  # fmt: skip


def main() -> int:
    """Print the table in Markdown."""
    print("| publication | run | published GB | planned GB | difference | why they may differ |")
    print("|---|---|---:|---:|---:|---|")
    for row in PUBLISHED:
        planned = predict(row)
        off = (planned - row.said_bytes) / row.said_bytes
        print(
            f"| {row.source} | {row.what} | {row.said_bytes / 1e9:.1f} | {planned / 1e9:.1f} | {off:+.0%} | "
            f"{row.differs} |",
            flush=True,
        )
    return 0


def predict(row: Published) -> float:
    """The plan's training peak; without the CUDA context where the publication's figure is the allocator's."""
    import dataclasses

    from semtune.plan import requests
    from semtune.plan.devices import CUDA_CONTEXT_BYTES, parse_device
    from semtune.plan.planner import Planner
    from semtune.specs import resolve, spec_from

    spec = resolve(spec_from({"task": "practice", "model": row.model, **row.spec}, row.what))
    device = parse_device("h100", requests.local_device())
    request = requests.request_of(spec, device, requests.Data(), None, 0)
    if row.config:
        config = request.config
        for name, value in row.config.items():
            setattr(config, name, value)
        config.num_key_value_heads, config.head_dim = config.num_attention_heads, 128
        request = dataclasses.replace(request, config=config)
    peak = Planner(request).estimate(spec).peak_bytes["train"]
    return float(peak if row.context else peak - CUDA_CONTEXT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
