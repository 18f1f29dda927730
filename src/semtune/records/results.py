"""What is measured or predicted: the result of a run, and the plan of one. Sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from semtune.records.checking import Keys
from semtune.records.overlap import Overlap
from semtune.records.quantities import Bytes, Count, PerSecond, Seconds, Seed
from semtune.records.scores import Scores
from semtune.records.usage import Usage

Phase = Literal["load", "train", "evaluate"]
Status = Literal["ok", "does_not_fit", "out_of_memory", "diverged", "interrupted", "failed"]
PresetChange = Annotated[Mapping[str, Any], Keys(("preset", "run"))]


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
    """The estimated memory and time of one method, or one prompting strategy, on one device."""

    method: str
    """The method or strategy."""
    fits: bool
    """Whether it fits in the device's memory without offloading."""
    spill_bytes: int = 0
    """Bytes of frozen weights to offload to main memory so that it fits; 0: none, or offloading does not help."""
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    """Phase (load, train, evaluate) -> peak bytes, including the bare runtime or the CUDA context."""
    seconds_per_iteration: float | None = None
    """Seconds of a typical optimizer step, including the transfers of offloaded weights."""
    train_seconds: float | None = None
    """Seconds of all epochs; None without a task."""
    advice: tuple[Advice, ...] = ()
    largest: Mapping[str, Any] = field(default_factory=dict)
    """The largest batch_size, max_length and model that would fit, each with all other options unchanged."""
    reason: str | None = None
    """Why there is no figure: the method cannot attach to this model."""
    cache_bytes: int | None = None
    """Of prompting, bytes of keys and values of all texts in flight at their longest; None for tuning."""
    seconds_per_example: float | None = None
    """Of prompting, mean seconds of an example while others are in flight; None for tuning."""
    predict_seconds: float | None = None
    """The same, for all examples of dev and test; None without a task, and for tuning."""


@dataclass(frozen=True, slots=True)
class CutTexts:
    """Texts of a split that are longer than an option allows; their ends were left out."""

    texts: Count
    examples: Count
    """The number of all texts of the split."""
    tokens: Count
    """Tokens left out, of all these texts together."""
    max_length: Count
    """The option's value."""
    option: str = "--max-length"
    """What messages call the option."""

    def sentence(self, what: str) -> str:
        """What was cut, as a clause; `what` names the texts, such as "train texts"."""
        plural = "" if self.tokens == 1 else "s"
        return (
            f"{self.texts} of {self.examples} {what} are longer than {self.option} {self.max_length} allows: "
            f"{self.tokens:,} token{plural} at their ends were left out"
        )


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one run measured: `result.json`, written once. A run that failed is a result too, with its reason.

    A choice that the approach does not use is "": a baseline has neither model, method, prompt nor readout.
    """

    task: str
    model: str
    method: str
    prompt: str
    readout: str
    preset: str
    seed: Seed
    status: Status
    reason: str | None = None
    trainable_parameters: Count | None = None
    total_parameters: Count | None = None
    epochs_trained: Count | None = None
    best_epoch: Count | None = None
    """The epoch with the best dev score, whose weights are saved."""
    selected_on: str | None = None
    """The split that chose the epoch (and, for `head`, the threshold); its scores are optimistic."""
    seconds_per_iteration: Seconds | None = None
    """Median over optimizer steps, the first (warm-up) step left out."""
    seconds_per_epoch: Seconds | None = None
    """Mean seconds of training per epoch, without dev scoring."""
    tokens_per_second: PerSecond | None = None
    """Tokens trained on per second, without padding."""
    load_seconds: Seconds | None = None
    train_seconds: Seconds | None = None
    """Seconds of the training phase, without dev scoring."""
    predict_seconds: Seconds | None = None
    predict_examples_per_second: PerSecond | None = None
    runtime_bytes: Bytes | None = None
    """Resident bytes of the bare runtime (imports done, nothing loaded)."""
    peak_bytes: Mapping[str, Bytes] = field(default_factory=dict)
    """Peak resident bytes per phase (load, train, evaluate), runtime included; on CUDA the device's peak bytes."""
    predicted_peak_bytes: Mapping[str, Bytes] = field(default_factory=dict)
    """The plan's estimate of `peak_bytes`; on CUDA it includes the context, which `peak_bytes` does not."""
    predicted_seconds_per_iteration: Seconds | None = None
    predicted_seconds_per_example: Seconds | None = None
    """The plan's estimate of 1 / `predict_examples_per_second`, of a prompted run."""
    scores: Mapping[str, Scores] = field(default_factory=dict)
    """Split -> scores."""
    notes: tuple[str, ...] = ()
    """Sentences printed beside the figures: weights are random, were already rounded to 4 bits, …"""
    out: str | None = None
    """The run folder."""
    approach: str = "tuned"
    name: str | None = None
    """The strategy or baseline; None: a tuned model, whose name is its method."""
    answer: str = ""
    """The strategy's option of this name; "": it has none, there is no strategy, or written before it was recorded."""
    metric: str | None = None
    """The task's primary metric, which selected the epoch; None in results written before it was recorded."""
    cut_texts: Mapping[str, CutTexts] = field(default_factory=dict)
    """Split -> what --max-length cut of its texts; only splits of which something was cut."""
    preset_changes: Mapping[str, PresetChange] = field(default_factory=dict)
    """Option -> {"preset": value, "run": value} for each option that the run has otherwise than its preset."""
    usage: Usage | None = None
    """What a prompted run asked; None: not a prompted run, or written before it was counted."""
    overlaps: tuple[Overlap, ...] = ()
    """Texts that two splits share; none are counted in results written before they were."""
    run_id: str | None = None
    """The id of this run, given by the study that started it; None in results written before there were ids."""
    spec_fingerprint: str | None = None
    """Of the resolved spec; this and the next four are None in results written before they were recorded."""
    data_fingerprint: str | None = None
    """Of the label space and of every example of all splits, as read."""
    model_fingerprint: str | None = None
    """Of the names, sizes and contents of the model's files; None also where there is no model."""
    file_fingerprints: Mapping[str, str] | None = None
    """Option ("knowledge", "prices") -> fingerprint of the file that it names."""
    code_version: str | None = None
    """semtune's version with a fingerprint of its source files."""
    ended_at: str | None = None
    """UTC, to the second."""
    kept_from: str | None = None
    """Only in a study's record: when and where an earlier call measured this, where that differs from the study."""
