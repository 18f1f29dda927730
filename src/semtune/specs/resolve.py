"""A RunSpec from what a user wrote, checked, and completed with what its method's preset says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from semtune.contracts import Method
from semtune.errors import OptionError, OutputError, UnknownNameError, did_you_mean
from semtune.records import MethodSettings, RunSpec, TaskOptions, to_plain
from semtune.registry import APPROACHES, BASELINES, METHODS, PROMPTS, READOUTS, STRATEGIES, TASKS

R = TypeVar("R")
EARLIER_KEYS = {"recompute": "activation_checkpointing", "stream_bytes": "offload_bytes"}
"""Former keys of `spec.yaml`, each with the present one."""
PRESET_FIELDS = tuple(field.name for field in dataclasses.fields(MethodSettings))
"""Options that a method's preset fixes where they are not given."""


def record_from(cls: type[R], values: Mapping[str, Any], where: str) -> R:
    """A record of type `cls` from plain values.

    Args:
        where: what the values are, for messages, e.g. "studies/demo.yaml".

    Raises:
        UnknownNameError: a key that the record does not have.
        OptionError: a value of the wrong type, a missing one, or values that are no mapping.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"{where} must be a mapping of names to values, not {values!r}.")
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UnknownNameError(f'{where} has an unknown key "{key}"; {did_you_mean(str(key), known)}')
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("missing", "missing_argument"):
            raise OptionError(f'{where} lacks "{key}"; add it.') from error
        raise OptionError(f'{where}: "{key}" cannot be {first["input"]!r}: {first["msg"].lower()}.') from error


def resolve(spec: RunSpec) -> RunSpec:
    """`spec` with names checked, values checked, and every option that the preset fixes filled in.

    Raises:
        UnknownNameError: a task, method, prompt, readout or preset that does not exist.
        OptionError: an impossible value.
    """
    TASKS.check(spec.task)
    APPROACHES.check(spec.approach)
    for name, registry in (("prompt", PROMPTS), ("readout", READOUTS), ("method", METHODS)):
        registry.check(getattr(spec, name))
    uses = APPROACHES.get(spec.approach).uses
    for name, registry in (("strategy", STRATEGIES), ("baseline", BASELINES)):
        if name in uses:
            if getattr(spec, name) is None:
                raise OptionError(f"A run of the approach {spec.approach} needs a {name}; name one with --{name}.")
            registry.check(getattr(spec, name))
    if "method" not in uses:
        full = record_from(
            RunSpec, {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}, "the run's options"
        )
        _check_values(full)
        return full
    method: Method = METHODS.get(spec.method)
    if spec.preset not in method.presets:
        raise UnknownNameError(
            f'There is no preset called "{spec.preset}" for the method {spec.method}; '
            f"{did_you_mean(spec.preset, method.presets)}"
        )
    preset = method.presets[spec.preset]
    given = {name: getattr(spec, name) for name in PRESET_FIELDS}
    filled = {name: getattr(preset, name) if value is None else value for name, value in given.items()}
    full = dataclasses.replace(spec, **filled)
    full = record_from(RunSpec, {f.name: getattr(full, f.name) for f in dataclasses.fields(full)}, "the run's options")
    _check_values(full)
    method_settings(full)
    return full


def method_settings(spec: RunSpec) -> MethodSettings:
    """The method's part of a resolved spec."""
    return record_from(MethodSettings, {name: getattr(spec, name) for name in PRESET_FIELDS}, "the run's options")


def read_spec(path: Path) -> RunSpec:
    """A run's `spec.yaml`. Raises OptionError, UnknownNameError."""
    values = {EARLIER_KEYS.get(key, key): value for key, value in read_yaml(path).items()}
    options = record_from(TaskOptions, values.pop("task_options", None) or {}, f"task_options in {path}")
    return record_from(RunSpec, {**values, "task_options": options}, str(path))


def write_spec(spec: RunSpec, path: Path) -> None:
    """Write `spec.yaml`, from which the run can be repeated."""
    path.write_text(yaml.safe_dump(to_plain(spec), sort_keys=False, allow_unicode=True), encoding="utf-8")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping of plain values. Raises OptionError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise OptionError(f"There is no file {path}; check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} cannot be read as UTF-8 text ({error}).") from error
    except yaml.constructor.ConstructorError as error:
        raise OptionError(
            f"{path} asks to construct an object ({error.problem}); only plain values are read, remove the tag."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: what looks like a date and is none
        raise OptionError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise OptionError(f"{path} must hold a mapping such as `task: practice`, one key a line.")
    return values


def check_writable(folder: Path) -> None:
    """Make `folder`. Raises OutputError when that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror}); choose another folder with --out."
        ) from error


def _check_values(spec: RunSpec) -> None:
    """One sentence about the first impossible value. Rank, alpha and dropout are the method's to judge."""
    at_least_one = ("epochs", "batch_size", "accumulation_steps", "predict_batch_size", "max_new_tokens")
    for name in at_least_one:
        if getattr(spec, name) < 1:
            raise OptionError(f"{_option(name)} must be at least 1, not {getattr(spec, name)}.")
    if spec.max_length < 8:
        raise OptionError(f"--max-length must be at least 8 tokens, not {spec.max_length}.")
    for name in ("learning_rate", "max_grad_norm"):
        value = getattr(spec, name)
        if value is not None and not 0 < value < float("inf"):
            raise OptionError(f"{_option(name)} must be a positive number, not {value}.")
    if not 0 <= spec.warmup_fraction <= 1:
        raise OptionError(f"--warmup-fraction must lie between 0 and 1, not {spec.warmup_fraction}.")
    if spec.weight_decay is not None and not 0 <= spec.weight_decay < 1:
        raise OptionError(f"--weight-decay must lie between 0 and 1, not {spec.weight_decay}.")
    if spec.patience is not None and spec.patience < 1:
        raise OptionError(f"--patience must be at least 1 epoch, not {spec.patience}.")
    if spec.offload_bytes < 0:
        raise OptionError(f"--stream-gb must be at least 0, not {spec.offload_bytes / 1e9:g}.")
    if spec.threads is not None and spec.threads < 1:
        raise OptionError(f"--threads must be at least 1, not {spec.threads}.")
    if not 0 <= spec.seed < 2**63:
        raise OptionError(f"--seed must be at least 0 and below 2^63, not {spec.seed}.")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
