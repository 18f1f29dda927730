"""The options of a run's method, readout, prompt and strategy, each declared in a nested dataclass `Settings`.

A field of `Settings` is an option of that object, unless RunSpec has a field of the same name (such as `max_length`,
which readouts need too): then the run's value is used.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from semtune.contracts import Method
from semtune.errors import MethodRefusesError, OptionError, UnknownNameError, did_you_mean
from semtune.records import CommonReadoutOptions, LowRankSettings, MethodSettings, RunSpec
from semtune.registry import APPROACHES, METHODS, OPTIMIZERS, PROMPTS, READOUTS, STRATEGIES, Registry
from semtune.specs.kinds import IN_STUDIES
from semtune.specs.precision import present_spelling
from semtune.specs.record import record_from

RUN_FIELDS = tuple(f.name for f in dataclasses.fields(RunSpec))
PRECISION = "precision"
COMMON_METHOD_OPTIONS = tuple(f.name for f in dataclasses.fields(LowRankSettings))
"""Method options with a command-line flag and a study key of their own. Not every method has all of them."""
COMMON_READOUT_OPTIONS = tuple(f.name for f in dataclasses.fields(CommonReadoutOptions))
"""Readout options with a flag and a study key, as users spell them; `loss_on` sets the option `train_on_prompt`."""


@dataclass(frozen=True, slots=True)
class Part:
    """A field of RunSpec that names a registered object with options: its method, readout, prompt, …"""

    name: str
    """The field, e.g. "method"; the RunSpec field `<name>_options` has the options."""
    registry: Registry
    common: tuple[str, ...] = ()
    """Options that a study may give for all its members even where none of them has the option."""

    @property
    def options_name(self) -> str:
        return f"{self.name}_options"

    def settings_class(self, chosen: str) -> type[Any]:
        """The `Settings` of the registered object `chosen`, imported now. Raises UnknownNameError."""
        cls: type[Any] = self.registry.get(chosen).Settings
        return cls

    def option_names(self, chosen: str) -> list[str]:
        """Names of the options that `chosen` has."""
        return [f.name for f in option_fields(self.settings_class(chosen))]


METHOD = Part("method", METHODS, COMMON_METHOD_OPTIONS)
READOUT = Part("readout", READOUTS, ("train_on_prompt", "max_new_tokens"))
PROMPT, STRATEGY = Part("prompt", PROMPTS), Part("strategy", STRATEGIES)
OPTIMIZER = Part("optimizer", OPTIMIZERS)
PARTS = (METHOD, READOUT, PROMPT, STRATEGY, OPTIMIZER)


def as_given(option: str) -> str:
    """An option's name as users write it: the readout option `train_on_prompt` is `loss_on`."""
    return "loss_on" if option == "train_on_prompt" else option


def parts_of(spec: RunSpec) -> tuple[Part, ...]:
    """The parts of `spec` that its approach uses. Imports the approach. Raises UnknownNameError."""
    uses = APPROACHES.get(spec.approach).uses
    return tuple(part for part in PARTS if part.name in uses)


def with_present_names(spec: RunSpec) -> RunSpec:
    """`spec` with aliases (old names) of its method, readout and other parts replaced by the registered names."""
    present: dict[str, Any] = {part.name: part.registry.canonical(getattr(spec, part.name)) for part in PARTS}
    return dataclasses.replace(spec, **present)


def option_fields(settings: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a `Settings` class that are options, that is, not fields of RunSpec."""
    return tuple(f for f in dataclasses.fields(settings) if f.name not in RUN_FIELDS)


def method_settings(spec: RunSpec) -> MethodSettings:
    """The preset of the method of `spec`, overridden by the options of `spec`. Raises OptionError, UnknownNameError."""
    method: Method = METHODS.get(spec.method)
    if spec.preset not in method.presets:
        raise UnknownNameError(
            f'There is no preset called "{spec.preset}" for the method {spec.method}; '
            f"{did_you_mean(spec.preset, method.presets)}"
        )
    preset = method.presets[spec.preset]
    values = {f.name: getattr(preset, f.name) for f in dataclasses.fields(preset)}
    settings: MethodSettings = _settings(METHOD, spec, values)
    check = getattr(method, "check_settings", None)
    if check is not None:
        try:
            check(settings)
        except OptionError as error:
            raise MethodRefusesError(str(error)) from error
    return settings


def readout_settings(spec: RunSpec) -> Any:
    """The `Settings` of the readout of `spec`. Raises OptionError, UnknownNameError."""
    return _settings(READOUT, spec)


def prompt_settings(spec: RunSpec) -> Any:
    """The `Settings` of the prompt of `spec`. Raises OptionError, UnknownNameError."""
    return _settings(PROMPT, spec)


def strategy_settings(spec: RunSpec) -> Any:
    """The `Settings` of the prompting strategy of `spec`. Raises OptionError, UnknownNameError."""
    return _settings(STRATEGY, spec)


def optimizer_settings(spec: RunSpec) -> Any:
    """The `Settings` of the optimizer of `spec`. Raises OptionError, UnknownNameError."""
    return _settings(OPTIMIZER, spec)


_SETTINGS_OF = {
    "method": method_settings,
    "readout": readout_settings,
    "prompt": prompt_settings,
    "strategy": strategy_settings,
    "optimizer": optimizer_settings,
}


def filled_options(spec: RunSpec) -> dict[str, Any]:
    """RunSpec field (`method_options`, …) -> a value for every option, for the parts that the approach uses.

    Raises OptionError, UnknownNameError.
    """
    filled: dict[str, Any] = {}
    for part in parts_of(spec):
        settings = _SETTINGS_OF[part.name](spec)
        names = part.option_names(getattr(spec, part.name))
        filled[part.options_name] = canonical({name: getattr(settings, name) for name in names})
    return filled


def canonical(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in one normal form, so that equal ones compare equal: tuples for lists, "auto" for the old "compute"."""
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    precision = plain.get(PRECISION)
    if isinstance(precision, str):
        plain[PRECISION] = present_spelling(precision)
    return plain


def check_option_names(spec: RunSpec) -> None:
    """Raises OptionError for an option that a part of `spec` does not have."""
    for part in parts_of(spec):
        chosen = getattr(spec, part.name)
        known = part.option_names(chosen)
        for key in getattr(spec, part.options_name):
            if key not in known:
                raise OptionError(
                    f'The {part.name} {chosen} has no option "{as_given(key)}"; {_suggestion(key, known)}'
                )


def check_foreign_options(spec: RunSpec) -> None:
    """Raises OptionError for an option of a part that the approach does not use; `precision` is always accepted."""
    used = parts_of(spec)
    for part in PARTS:
        foreign = [key for key in getattr(spec, part.options_name) if key != PRECISION]
        if part not in used and foreign:
            raise OptionError(
                f'The approach {spec.approach} has no {part.name}, so leave its option "{foreign[0]}" out.'
            )


def without_foreign_options(spec: RunSpec, parts: Iterable[Part]) -> RunSpec:
    """`spec` without the options of other parts than `parts`, and without options (and knowledge) that they lack.

    The precision stays, as it belongs to the base model, which every approach but a baseline has.
    """
    parts = tuple(parts)
    options = spec.method_options
    kept: dict[str, Any] = {part.options_name: {} for part in PARTS}
    kept["method_options"] = {key: value for key, value in options.items() if key == PRECISION}
    for part in parts:
        known = part.option_names(getattr(spec, part.name))
        given = getattr(spec, part.options_name)
        kept[part.options_name] = {key: value for key, value in given.items() if key in known}
    if not _reads_knowledge(spec, parts):
        kept["knowledge"] = None
    return dataclasses.replace(spec, **kept)


def check_knowledge(spec: RunSpec) -> None:
    """Raises OptionError for knowledge that no part of `spec` looks up."""
    if spec.knowledge is None or _reads_knowledge(spec, parts_of(spec)):
        return
    chosen = spec.strategy or spec.approach
    raise OptionError(
        f"--knowledge is looked up by prompting strategies such as retrieval, and not by {chosen}; leave it out, or "
        "give --approach prompted with another --strategy."
    )


def _reads_knowledge(spec: RunSpec, parts: Iterable[Part]) -> bool:
    """Whether one of the `parts` looks up the run's knowledge: the `Settings` of what is chosen have that field."""
    return spec.knowledge is not None and any(
        "knowledge" in {f.name for f in dataclasses.fields(part.settings_class(getattr(spec, part.name)))}
        for part in parts
    )


def check_shared_options(part: Part, options: Iterable[str], chosen: Iterable[str]) -> None:
    """Raises OptionError for an option that none of the `chosen` members of `part` (the methods of a study, say) has.

    The part's common options are accepted in any case: study files give them for whatever they compare.
    """
    known = {name for member in chosen for name in part.option_names(member)}
    for key in options:
        if key not in known and key not in part.common:
            members = IN_STUDIES.get(part.name, f"{part.name}s")
            raise OptionError(f'None of the {members} has an option "{as_given(key)}"; {_suggestion(key, known)}')


def _suggestion(key: str, known: Iterable[str]) -> str:
    """The end of a message about the unknown option `key`."""
    names = list(known)
    return did_you_mean(str(key), names) if names else "it has none."


def _settings(part: Part, spec: RunSpec, preset: Mapping[str, Any] | None = None) -> Any:
    """The `Settings` of a part; the options of `spec` override `preset`, which overrides the run's shared fields."""
    check_option_names(spec)
    chosen = getattr(spec, part.name)
    cls = part.settings_class(chosen)
    shared = {f.name: getattr(spec, f.name) for f in dataclasses.fields(cls) if f.name in RUN_FIELDS}
    given = {key: _as_tuple(cls, key, value) for key, value in canonical(getattr(spec, part.options_name)).items()}
    return record_from(cls, {**shared, **(preset or {}), **given}, f"the options of the {part.name} {chosen}")


def _as_tuple(cls: type[Any], key: str, value: Any) -> Any:
    """ "a, b" as ("a", "b") for a field that is a tuple; any other value as it is."""
    if not isinstance(value, str) or "tuple" not in str(typing.get_type_hints(cls)[key]):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())
