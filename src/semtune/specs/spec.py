"""A RunSpec from plain values and back: its keys, those of earlier versions, and `spec.yaml`.

Users and files may give the common options of methods and readouts flat (`rank: 8`); a RunSpec has them in
`method_options` and `readout_options`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semtune.errors import OptionError
from semtune.records import CommonReadoutOptions, RunSpec, TaskOptions, to_plain
from semtune.registry import SOURCES
from semtune.runtime.files import check_path, expanded
from semtune.specs.kinds import shown
from semtune.specs.naming import naming
from semtune.specs.presets import with_preset
from semtune.specs.record import check_keys, mapping_from, record_from
from semtune.specs.settings import (
    COMMON_METHOD_OPTIONS,
    COMMON_READOUT_OPTIONS,
    METHOD,
    RUN_FIELDS,
    canonical,
    check_option_names,
    parts_of,
    with_present_names,
    without_foreign_options,
)
from semtune.specs.trust import without_trust
from semtune.specs.yaml_file import read_yaml, write_yaml

FLAT_KEYS = (*COMMON_METHOD_OPTIONS, *COMMON_READOUT_OPTIONS)
SPEC_KEYS = (*RUN_FIELDS, *FLAT_KEYS)
"""Every key of a run's options: RunSpec fields and flat keys."""
EARLIER_KEYS = {"recompute": "activation_checkpointing", "packed": "prepack", "stream_bytes": "offload_bytes"}
"""Key of an earlier version, still read -> its present name."""
_DATA_PATHS = ("data", "dev_data", "test_data", "data_dir")
"""Fields of TaskOptions that may name a file or folder."""
OPTION_MAPPINGS = ("method_options", "readout_options", "prompt_options", "strategy_options", "optimizer_options")
"""RunSpec fields that map the options of a part to values."""


def spec_from(values: Mapping[str, Any], where: str, *, shared: bool = False) -> RunSpec:
    """An unresolved RunSpec from plain values.

    What the values leave open is as their preset has it, and else as RunSpec has it.

    Args:
        values: RunSpec fields, flat keys, and keys of earlier versions. None for a flat key means: not given.
        where: names the values in messages.
        shared: whether the values are meant for several methods or readouts. Then an option that this run's method
            or readout lacks is left out (which imports them); otherwise `resolve` refuses it.

    Raises:
        UnknownNameError: an unknown key. OptionError: a value of the wrong type, or a missing one.
    """
    plain = with_preset(nested(values, where))
    if not isinstance(plain.get("task_options"), TaskOptions):
        of_task = mapping_from(plain, "task_options", where)
        plain["task_options"] = record_from(TaskOptions, of_task, f"task_options in {where}")
    spec = record_from(RunSpec, plain, where)
    options: dict[str, Any] = {name: canonical(getattr(spec, name)) for name in OPTION_MAPPINGS}
    spec = with_present_names(dataclasses.replace(spec, **options))
    return without_foreign_options(spec, parts_of(spec)) if shared else spec


def nested(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values` by RunSpec field: earlier keys renamed, flat keys moved into their option mappings.

    Raises UnknownNameError, OptionError.
    """
    plain: dict[str, Any] = {}
    for key, value in values.items():
        name = EARLIER_KEYS.get(key, key)
        if name in plain:
            raise OptionError(f'{where} has both "{key}" and "{name}"; keep "{name}".')
        plain[name] = value
    check_keys(plain, list(SPEC_KEYS), where)
    plain |= {name: mapping_from(plain, name, where) for name in OPTION_MAPPINGS if name in plain}
    method = {key: plain.pop(key) for key in COMMON_METHOD_OPTIONS if key in plain}
    readout = {key: plain.pop(key) for key in COMMON_READOUT_OPTIONS if key in plain}
    _check_given_once(method, plain.get("method_options"), "method_options", where)
    flat = {
        "method_options": {key: value for key, value in method.items() if value is not None},
        "readout_options": _readout_options(readout, where),
    }
    return merged({key: value for key, value in flat.items() if value}, plain)


def _check_given_once(flat: Mapping[str, Any], options: Any, name: str, where: str) -> None:
    """Raises OptionError where `options` (the mapping called `name`) and `flat` have one option with two values."""
    for key, value in flat.items():
        if isinstance(options, Mapping) and value is not None and key in options and options[key] != value:
            raise OptionError(
                f'{where} has "{key}" as {shown(value)} and in "{name}" as {shown(options[key])}; keep one of them.'
            )


def merged(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`base` overridden by `above`, option mappings key by key; both have the form that `nested` returns."""
    both = {**base, **above}
    for name in OPTION_MAPPINGS:
        if isinstance(base.get(name), Mapping) and isinstance(above.get(name), Mapping):
            both[name] = {**base[name], **above[name]}
    return both


def with_changes(spec: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """`spec` with other values of some options, flat keys allowed; a resolved spec stays resolved.

    Raises:
        OptionError: an option that the method or readout of `spec` does not have. UnknownNameError: an unknown key.
    """
    current = {name: getattr(spec, name) for name in RUN_FIELDS}
    changed = dataclasses.replace(spec, **merged(current, nested(changes, "the changes")))
    check_option_names(changed)
    return changed


def with_method(spec: RunSpec, method: str, *, shared: bool) -> RunSpec:
    """`spec` with another method; where `shared`, without the options that this method does not have."""
    changed = dataclasses.replace(spec, method=method)
    return without_foreign_options(changed, [METHOD]) if shared else changed


def read_spec(path: Path) -> RunSpec:
    """A run's `spec.yaml`, without trust in the model's code, whatever it says. Raises OptionError, UnknownNameError.

    Files that the first release wrote have every key, also flat options that the method lacks: those are left out.
    """
    values = without_trust(read_yaml(path))
    with naming(str(path)):
        return spec_from(values, str(path), shared=EARLIER_KEYS.keys() <= values.keys())


def write_spec(spec: RunSpec, path: Path) -> None:
    """Write `spec.yaml`, from which the run can be repeated, in any working directory."""
    write_yaml(to_plain(with_absolute_paths(spec)), path)


def with_absolute_paths(spec: RunSpec) -> RunSpec:
    """`spec` with absolute paths of a model, knowledge and data that are files or folders here; other names as is.

    A relative path means another file elsewhere, or even a model on the hub ("models/tiny").
    """
    named = spec.model in SOURCES.aliases or re.match(r"[a-z0-9_-]{2,}:", spec.model)
    task = spec.task_options
    data: dict[str, Any] = {
        name: _absolute(getattr(task, name)) for name in _DATA_PATHS if getattr(task, name) is not None
    }
    return dataclasses.replace(
        spec,
        model=spec.model if named or spec.endpoint is not None else _absolute(spec.model),
        knowledge=None if spec.knowledge is None else _absolute(spec.knowledge),
        prices=None if spec.prices is None else _absolute(spec.prices),
        task_options=dataclasses.replace(task, **data),
    )


def _absolute(name: str) -> str:
    """The absolute path of a file or folder that exists; any other name as it is."""
    with contextlib.suppress(OSError, ValueError):  # too long for a path, or a null character
        path = expanded(name)
        if path.exists():
            check_path(path.absolute())
            return str(path.absolute())
    return name


def _readout_options(flat: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Flat readout keys as readout options: `loss_on` is the option `train_on_prompt`."""
    common = record_from(CommonReadoutOptions, flat, where)
    options: dict[str, Any] = {}
    if common.loss_on is not None:
        options["train_on_prompt"] = common.loss_on == "all"
    if common.max_new_tokens is not None:
        options["max_new_tokens"] = common.max_new_tokens
    return options
