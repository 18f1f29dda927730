"""The frozen records that pass between rooms. Standard library only; every size is in bytes, every time in seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Phase = Literal["load", "train", "evaluate"]
Status = Literal["ok", "does_not_fit", "out_of_memory", "diverged", "failed"]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text that carries a label: characters `start` to `end` (exclusive) of `Example.text`."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Example:
    """One text of a task."""

    id: str
    text: str
    labels: tuple[str, ...] | None
    """None: the split is unlabelled (a shared task's test release); (): labelled, and none applies."""
    image: str | None = None
    spans: tuple[Span, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a tuned model or a baseline answers for one example."""

    id: str
    labels: tuple[str, ...]
    parsed: bool = True
    """False: the completion held something that is not a valid answer; `labels` is what could be read, scored as is."""
    raw: str | None = None
    """The completion as generated, where there is one."""
    probabilities: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Precision, recall and F1 of one label; `support` counts its gold examples."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Scores:
    """A split's scores. `parse_failures` is the share (0 to 1) of completions that did not parse."""

    micro_f1: float
    macro_f1: float
    parse_failures: float
    per_label: Mapping[str, LabelScore]
    examples: int


@dataclass(frozen=True, slots=True)
class LeaderboardEntry:
    """One published result of a shared task, on its test split."""

    team: str
    micro_f1: float
    macro_f1: float


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


@dataclass(frozen=True, slots=True)
class Advice:
    """A change after which a run fits, and what it costs."""

    text: str
    change: Mapping[str, Any]
    """Options of a RunSpec with their new values."""
    peak_bytes: int
    """The highest of all phases, after the change."""
    seconds_factor: float | None
    """Predicted seconds of an optimizer step of the same texts, over those before the change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one method would take on one device, before it runs."""

    method: str
    fits: bool
    """Without spilling."""
    spill_bytes: int = 0
    """Of frozen weights that would wait in main memory and cross the bus every step; 0: none, or that does not help."""
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    """By phase (load, train, evaluate), the bare runtime or the CUDA context included."""
    seconds_per_iteration: float | None = None
    """Of a typical optimizer step; with what crosses the bus where it would spill."""
    train_seconds: float | None = None
    """Of all epochs; None without a task."""
    advice: tuple[Advice, ...] = ()
    largest: Mapping[str, Any] = field(default_factory=dict)
    """The largest batch_size, max_length and model that would fit, all else as asked."""
    reason: str | None = None
    """Why there is no figure: the method cannot attach to this model."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one run measured: `result.json`, written once. A run that failed is a result too, with its reason."""

    task: str
    model: str
    method: str
    prompt: str
    readout: str
    preset: str
    seed: int
    status: Status
    reason: str | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    epochs_trained: int | None = None
    best_epoch: int | None = None
    """The epoch whose weights were kept: that of the best dev micro-F1."""
    selected_on: str | None = None
    """The split that chose the epoch (and, for `head`, the threshold); its scores are optimistic."""
    seconds_per_iteration: float | None = None
    """Median over optimizer steps, the first (warm-up) step left out."""
    seconds_per_epoch: float | None = None
    """Training alone, dev scoring left out."""
    tokens_per_second: float | None = None
    """Real tokens trained on per second; padding never counts."""
    load_seconds: float | None = None
    train_seconds: float | None = None
    """The whole training phase less dev scoring."""
    predict_seconds: float | None = None
    predict_examples_per_second: float | None = None
    runtime_bytes: int | None = None
    """Resident bytes of the bare runtime (imports done, nothing loaded)."""
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    """Peak resident bytes per phase (load, train, evaluate), runtime included; on CUDA the device's peak bytes."""
    predicted_peak_bytes: Mapping[str, int] = field(default_factory=dict)
    """As `peak_bytes`, from the plan; on CUDA the context is in it, which is no part of `peak_bytes` there."""
    predicted_seconds_per_iteration: float | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    """By split."""
    notes: tuple[str, ...] = ()
    """What a reader must know: random weights, weights already rounded to 4 bits, …"""
    out: str | None = None
    """The run folder."""


def to_plain(value: Any) -> Any:
    """A record as plain dicts, lists and scalars, for JSON or YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value
