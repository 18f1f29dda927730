"""Keywords of `semtune.tune`, `plan` and `study` as the options of a run: `rank=8` becomes one of the method's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semtune.api.own_data import TASK_OPTIONS, DataFolder, TaskOrData, Texts, check_data_given_once, task_values
from semtune.errors import OptionError, UnknownNameError, did_you_mean
from semtune.records import RunSpec


def run_spec(
    data: TaskOrData, dev: Texts | None, test: Texts | None, options: Mapping[str, Any], folder: DataFolder, where: str
) -> RunSpec:
    """The spec of one run; data in memory are written. Raises UnknownNameError, OptionError, DataError, OutputError."""
    from semtune.specs import spec_from

    task_options, given = split_task_options(options)
    check_data_given_once(given, where)
    if "offload_gb" in given:
        given["offload_bytes"] = _bytes_of(given.pop("offload_gb"))
    given = _nest_part_options(given, where)
    return spec_from({**task_values(data, dev, test, task_options, folder), **given}, where)


def _bytes_of(gigabytes: Any) -> int:
    """`offload_gb` in bytes. Raises OptionError for anything but a finite number."""
    if not isinstance(gigabytes, (int, float)) or not math.isfinite(gigabytes):
        raise OptionError(f"offload_gb must be a finite number, not {gigabytes!r}.")
    return round(gigabytes * 1e9)


def _nest_part_options(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`options`, with options of the method, readout, prompt or strategy moved into `method_options` and the like.

    Raises UnknownNameError with the nearest known name.
    """
    from semtune.specs.presets import DEFAULT_PRESET, preset_values
    from semtune.specs.record import mapping_from
    from semtune.specs.settings import PARTS
    from semtune.specs.spec import EARLIER_KEYS, OPTION_MAPPINGS, SPEC_KEYS

    nested = {name: value for name, value in options.items() if name in SPEC_KEYS or name in EARLIER_KEYS}
    nested |= {name: mapping_from(nested, name, where) for name in OPTION_MAPPINGS if name in nested}
    known = ["offload_gb", *SPEC_KEYS, *TASK_OPTIONS]
    defaults = {field.name: field.default for field in dataclasses.fields(RunSpec)}
    defaults |= preset_values(options.get("preset", DEFAULT_PRESET))
    for part in PARTS:
        chosen = options.get(part.name, defaults[part.name])
        names = part.option_names(chosen) if chosen in part.registry else []
        own = {name: value for name, value in options.items() if name in names and name not in nested}
        if own:
            nested[part.options_name] = {**nested.get(part.options_name, {}), **own}
        known += names
    moved = {name for part in PARTS for name in nested.get(part.options_name, {})}
    unknown = next((name for name in options if name not in nested and name not in moved), None)
    if unknown is not None:
        raise UnknownNameError(f'{where} has no option "{unknown}"; {did_you_mean(unknown, known)}')
    return nested


def split_task_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the task, and all others; paths as text."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    of_task = {name: value for name, value in options.items() if name in TASK_OPTIONS}
    return of_task, {name: value for name, value in options.items() if name not in TASK_OPTIONS}
