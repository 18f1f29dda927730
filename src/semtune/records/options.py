"""What a user may choose: the options of a task, of a method, and of a whole run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What a user may tell a task; a task that cannot use an option that was given says so (OptionError)."""

    data_dir: str | None = None
    """Folder with the task's own files (shared tasks)."""
    data: str | None = None
    """File, folder of split files, or hub data set (the `table` task)."""
    dev_data: str | None = None
    test_data: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    label_separator: str | None = None
    """Given: several labels in one cell, separated so (multi-label). A list-valued cell is multi-label without it."""
    labels: tuple[str, ...] | None = None
    """The label set; None: inferred from all labelled splits."""
    encoding: str = "utf-8"
    split_seed: int = 0
    dev_fraction: float = 0.1
    test_fraction: float = 0.2
    """0: no test split is made."""


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """What a preset fixes for one method; the command line and a study file may override each field."""

    precision: Literal["compute", "fp32", "bf16", "nf4", "nf4-cached"] = "compute"
    """Of the base weights. "compute": bf16 where this machine multiplies it natively, else fp32."""
    learning_rate: float = 5e-4
    rank: int = 16
    alpha: float = 32.0
    """The low-rank product is scaled by alpha / rank."""
    dropout: float = 0.0
    """On the input of the low-rank path, while training."""
    targets: tuple[str, ...] = ("all-linear",)
    """Names of the linear layers that carry adapters ("q_proj", "v_proj"), or "all-linear": all of the decoder's."""
    master_weights: bool = False
    """Train fp32 copies of bf16 weights (the copies live in the optimizer)."""
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything needed to run again. None in an option that a preset fixes means: what the preset says."""

    task: str
    model: str = "default"
    method: str = "lora"
    prompt: str = "report"
    readout: str = "head"
    preset: str = "default"
    seed: int = 0
    task_options: TaskOptions = field(default_factory=TaskOptions)
    # training
    epochs: int = 3
    batch_size: int = 8
    accumulation_steps: int = 1
    max_length: int = 512
    """Tokens of prompt and completion together; longer texts are cut at their end, the marker and labels never."""
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0
    patience: int | None = None
    """Stop after this many epochs without a better dev micro-F1; None: never."""
    loss_on: Literal["completion", "all"] = "completion"
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    """adamw-8bit keeps its moments in 8 bits."""
    # what a preset fixes, where not given
    learning_rate: float | None = None
    rank: int | None = None
    alpha: float | None = None
    dropout: float | None = None
    targets: tuple[str, ...] | None = None
    precision: str | None = None
    master_weights: bool | None = None
    weight_decay: float | None = None
    # predicting
    predict_batch_size: int = 20
    max_new_tokens: int = 64
    # machine
    threads: int | None = None
    packed: bool | None = None
    """Keep frozen bf16 weights laid out for a CPU's products, twice their bytes; None: if that is little memory."""
    activation_checkpointing: bool = False
    """Keep of each block its input alone and compute the rest again in backward: less memory, more time."""
    offload_bytes: int = 0
    """Of frozen weights that wait in main memory and come to the GPU for each product."""
    device: str = "auto"
    trust_remote_code: bool = False
