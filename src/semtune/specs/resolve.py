"""A RunSpec checked, and completed with what presets and `Settings` say."""

from __future__ import annotations

import dataclasses

from semtune.errors import OptionError
from semtune.records import RunSpec
from semtune.registry import APPROACHES, BASELINES, METHODS, PROMPTS, READOUTS, STRATEGIES, TASKS
from semtune.specs.precision import AUTO, normalise_precision
from semtune.specs.record import record_from
from semtune.specs.settings import RUN_FIELDS, check_foreign_options, filled_options, with_present_names


def resolve(spec: RunSpec) -> RunSpec:
    """`spec` with names and values checked, and every option of its method, readout and prompt filled in.

    Raises:
        UnknownNameError: a task, method, prompt, readout or preset that does not exist.
        OptionError: an impossible value, or an option that the method (readout, prompt) does not have.
    """
    TASKS.check(spec.task)
    typed = record_from(RunSpec, {name: getattr(spec, name) for name in RUN_FIELDS}, "the run's options")
    typed = with_present_names(typed)
    _check_choices(typed)
    check_foreign_options(typed)
    _check_run(typed)
    full = dataclasses.replace(typed, **filled_options(typed))
    _check_options(full)
    return full


def _check_choices(spec: RunSpec) -> None:
    """Every choice that the approach uses is made, and registered. Raises OptionError, UnknownNameError."""
    uses = APPROACHES.get(spec.approach).uses
    for name, registry in (
        ("prompt", PROMPTS), ("readout", READOUTS), ("method", METHODS), ("strategy", STRATEGIES),
        ("baseline", BASELINES),
    ):  # fmt: skip
        if name not in uses:
            continue
        if getattr(spec, name) is None:
            raise OptionError(f"A run of the approach {spec.approach} needs a {name}; name one with --{name}.")
        registry.check(getattr(spec, name))


def _check_run(spec: RunSpec) -> None:
    """One sentence about the first impossible value of the run's own fields."""
    for name in ("epochs", "batch_size", "accumulation_steps", "predict_batch_size"):
        _check_at_least_one(name, getattr(spec, name))
    if spec.max_length < 8:
        raise OptionError(f"--max-length must be at least 8 tokens, not {spec.max_length}.")
    _check_positive("max_grad_norm", spec.max_grad_norm)
    if not 0 <= spec.warmup_fraction <= 1:
        raise OptionError(f"--warmup-fraction must lie between 0 and 1, not {spec.warmup_fraction}.")
    if spec.patience is not None and spec.patience < 1:
        raise OptionError(f"--patience must be at least 1 epoch, not {spec.patience}.")
    if spec.offload_bytes < 0:
        raise OptionError(f"--offload-gb must be at least 0, not {spec.offload_bytes / 1e9:g}.")
    if spec.threads is not None:
        _check_at_least_one("threads", spec.threads)
    if not 0 <= spec.seed < 2**63:
        raise OptionError(f"--seed must be at least 0 and below 2^63, not {spec.seed}.")


def _check_options(spec: RunSpec) -> None:
    """One sentence about the first impossible common option. Rank, alpha and dropout are the method's to judge."""
    if "learning_rate" in spec.method_options:
        _check_positive("learning_rate", spec.method_options["learning_rate"])
    weight_decay = spec.method_options.get("weight_decay", 0)
    if not 0 <= weight_decay < 1:
        raise OptionError(f"--weight-decay must lie between 0 and 1, not {weight_decay}.")
    normalise_precision(spec.method_options.get("precision", AUTO))
    _check_at_least_one("max_new_tokens", spec.readout_options.get("max_new_tokens", 1))


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise OptionError(f"{_flag(name)} must be at least 1, not {value}.")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise OptionError(f"{_flag(name)} must be a positive number, not {value}.")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
