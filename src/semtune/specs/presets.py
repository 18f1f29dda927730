"""Presets: what one name sets of a whole run, and how a run differs from its preset.

A preset has two parts. Each method declares its own settings by preset name (`Method.presets`); the object registered
in `registry.PRESETS` under the same name sets the rest: prompt, readout, epochs, options of the readout. What a user
gives stands above both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from semtune.records import RunSpec, to_plain
from semtune.registry import APPROACHES, METHODS, PRESETS
from semtune.specs.settings import PARTS, Part, as_given, canonical

DEFAULT_PRESET = str(next(f.default for f in fields(RunSpec) if f.name == "preset"))


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset sets beside the settings of the method."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """RunSpec field -> value; the options of a part (`readout_options`, …) as a mapping of option -> value."""


DEFAULT = Preset()
REPORT = Preset(
    # The original experiment, as studies/report.yaml has it: next-token loss over prompt and completion, labels read
    # from generated text. Its batch size, lengths and learning rates are not stated; see the methods' `preset_notes`.
    {"prompt": "report", "readout": "generate", "epochs": 3, "readout_options": {"train_on_prompt": True}}
)


def preset_values(name: Any) -> Mapping[str, Any]:
    """RunSpec field -> value that the preset `name` sets; {} where it is about methods alone, or unknown."""
    values: Mapping[str, Any] = PRESETS.get(name).values if name in PRESETS else {}
    return values


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` (in the form that `specs.spec.nested` returns) with what their preset sets and they do not.

    A part that the approach does not use, and an option that the chosen readout or prompt does not have, is left out.
    Raises UnknownNameError for an unknown approach.
    """
    preset = preset_values(values.get("preset", DEFAULT_PRESET))
    filled = dict(values)
    if not preset:
        return filled
    uses = APPROACHES.get(values.get("approach", "tuned")).uses
    part_of = {part.name: part for part in PARTS} | {part.options_name: part for part in PARTS}
    options = {part.options_name for part in PARTS}
    for name, value in preset.items():
        part = part_of.get(name)
        if name not in options and (part is None or name in uses):
            filled.setdefault(name, value)
    for name in options & preset.keys():
        part, given = part_of[name], filled.get(name, {})
        if part.name in uses and isinstance(given, Mapping):
            filled[name] = {**_options_of(part, filled, preset[name]), **given}
    return filled


def preset_changes(spec: RunSpec) -> dict[str, Any]:
    """What a resolved spec has otherwise than its preset: option -> {"preset": value, "run": value}, plain values.

    {} for an approach without a method, and for a preset that the method does not have.
    """
    if "method" not in APPROACHES.get(spec.approach).uses or spec.method not in METHODS:
        return {}
    method = METHODS.get(spec.method)
    if spec.preset not in method.presets:
        return {}
    settings = method.presets[spec.preset]
    pairs = {
        name: (value, spec.method_options.get(name, value))
        for name, value in canonical({f.name: getattr(settings, f.name) for f in fields(settings)}).items()
    }
    for name, value in preset_values(spec.preset).items():
        if isinstance(value, Mapping):
            given = getattr(spec, name)
            pairs |= {key: (wanted, given[key]) for key, wanted in value.items() if key in given}
        else:
            pairs[name] = (value, getattr(spec, name))
    changes = {name: (wanted, found) for name, (wanted, found) in pairs.items() if wanted != found}
    return {
        as_given(name): {"preset": _as_given_value(name, wanted), "run": _as_given_value(name, found)}
        for name, (wanted, found) in changes.items()
    }


def changes_as_text(preset: str, changes: Mapping[str, Any]) -> str:
    """A sentence about the result of `preset_changes`; "" where there are none."""
    if not changes:
        return ""
    parts = [f"{name} {written(values['run'])} (not {written(values['preset'])})" for name, values in changes.items()]
    return f"differs from the preset {preset}: {', '.join(parts)}"


def preset_remarks(spec: RunSpec) -> list[str]:
    """Sentences for a user who chose a preset other than the default, before the run: what differs, and the notes."""
    if spec.preset == DEFAULT_PRESET or "method" not in APPROACHES.get(spec.approach).uses:
        return []
    changed = changes_as_text(spec.preset, preset_changes(spec))
    return [*([f"this run {changed}"] if changed else []), *preset_notes(spec)]


def preset_notes(spec: RunSpec) -> tuple[str, ...]:
    """What a reader of results with this method and preset must know, e.g. that a value was not the experiment's."""
    method = METHODS.get(spec.method)
    notes: tuple[str, ...] = getattr(method, "preset_notes", {}).get(spec.preset, ())
    return notes


def _as_given_value(option: str, value: Any) -> Any:
    if option == "train_on_prompt":
        return "all" if value else "completion"
    return to_plain(value)


def written(value: Any) -> str:
    """A plain value as the command line writes it: the items of a list with commas between them."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _options_of(part: Part, values: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `options` that the object chosen for `part` has; {} for one that is not registered."""
    chosen = values.get(part.name)
    known = part.option_names(chosen) if isinstance(chosen, str) and chosen in part.registry else []
    return {name: value for name, value in options.items() if name in known}
