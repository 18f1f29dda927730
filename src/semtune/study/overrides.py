"""`overrides` of a study: options of single methods and strategies, which stand above the shared ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from semtune.errors import OptionError
from semtune.registry import METHODS, STRATEGIES
from semtune.specs.record import mapping_from
from semtune.specs.settings import METHOD, STRATEGY
from semtune.specs.spec import EARLIER_KEYS, SPEC_KEYS


def overrides_from(
    value: Any, where: str, check: Callable[[Mapping[str, Any], str], None]
) -> dict[str, dict[str, Any]]:
    """Method or strategy -> its options, from plain values.

    Args:
        check: raises UnknownNameError for an option that no run has; receives the options and what messages call them.

    Raises UnknownNameError, OptionError.
    """
    if not isinstance(value, Mapping) or not all(isinstance(v, Mapping) for v in value.values()):
        raise OptionError(
            f'{where}: "overrides" must map methods and strategies to options, such as `lora: {{rank: 8}}`.'
        )
    overrides = {}
    for key, options in value.items():
        name, of_member = str(key), f"overrides of {key} in {where}"
        if name in METHODS or name not in STRATEGIES:
            METHODS.check(name)
        overrides[name] = _with_own_nested(name, options, of_member)
        check(overrides[name], of_member)
    return overrides


def without_options(overrides: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`overrides` without the options that `given` has: what is given for a study stands above its file."""
    names = {*given} | {name for value in given.values() if isinstance(value, Mapping) for name in value}

    def kept(values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {key: kept(value) for key, value in values.items() if key not in names or isinstance(value, Mapping)}

    return {member: kept(values) for member, values in overrides.items()}


def _with_own_nested(name: str, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`options`, with those that only this method or strategy has (no field of RunSpec) moved into its own mapping."""
    part = METHOD if name in METHODS else STRATEGY
    unknown = [key for key in options if key not in SPEC_KEYS and key not in EARLIER_KEYS]
    own = [key for key in unknown if key in part.option_names(name)]  # asked, and imported, only where needed
    if not own:
        return dict(options)
    kept = {key: value for key, value in options.items() if key not in own}
    nested_options = mapping_from(options, part.options_name, where)
    return {**kept, part.options_name: {**nested_options, **{key: options[key] for key in own}}}
