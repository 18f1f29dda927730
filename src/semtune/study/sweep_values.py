"""`sweep` of a study: options and the values of each that are compared for every row, checked, and as run specs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from semtune.errors import OptionError, did_you_mean
from semtune.records import TUNING_OPTIONS, RunSpec, to_plain
from semtune.runs.identity import same_run
from semtune.specs import resolve, with_changes
from semtune.specs.kinds import shown
from semtune.specs.settings import METHOD, READOUT, as_given

PARTS = (METHOD, READOUT)
"""Parts of a run whose options can be swept, beside the options of tuning that every run has."""
FLAG = "--sweep"


def swept_from(value: Any, where: str) -> dict[str, tuple[Any, ...]]:
    """Option -> values, from a mapping of options to lists (or "a,b,c"). Raises OptionError."""
    if not isinstance(value, Mapping):
        raise OptionError(
            f'{where}: "sweep" must map options to lists of values, such as sweep: {{learning_rate: [1e-4, 1e-3]}}, '
            f"not {shown(value)}."
        )
    found: dict[str, tuple[Any, ...]] = {}
    for name, values in value.items():
        listed = [part.strip() for part in values.split(",")] if isinstance(values, str) else values
        several = isinstance(listed, (list, tuple)) and len(listed) > 1
        if not several or any(item in ("", None) or isinstance(item, (list, Mapping)) for item in listed):
            single = isinstance(listed, (list, tuple)) and len(listed) == 1
            raise OptionError(
                f'{where}: sweep needs at least two values of "{name}" to compare, such as {FLAG} {name}=1,2 or '
                f"sweep: {{{name}: [1, 2]}}, not {listed[0] if single else shown(values)}."
            )
        found[str(name).replace("-", "_")] = tuple(listed)
    return found


def check_swept(sweep: Mapping[str, Any], specs: Sequence[RunSpec], where: str) -> None:
    """Raises OptionError for an option that no run of the study has. `specs`: the tuned runs, resolved."""
    known = sorted({name for spec in specs for name in _options_of(spec)})
    for name in sweep:
        if not specs:
            raise OptionError(f"{where} sweeps {name} but tunes no model; name methods, or leave sweep out.")
        if name not in known:
            raise OptionError(
                f'{where}: sweep cannot vary "{name}", which is no option of how its models are tuned; '
                f"{did_you_mean(name, known)}"
            )


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One combination of values, and the run spec with it, resolved."""

    value: Mapping[str, Any]
    spec: RunSpec

    @property
    def text(self) -> str:
        """ "learning_rate 0.001, rank 8"."""
        return ", ".join(f"{name} {_written(value)}" for name, value in self.value.items())


def candidates(spec: RunSpec, sweep: Mapping[str, Sequence[Any]]) -> list[Candidate]:
    """Every combination of the values of those options that a run like the resolved `spec` has; [] where it has none.

    Raises OptionError: a value that the option cannot have, or the same one twice.
    """
    own = {name: values for name, values in sweep.items() if name in _options_of(spec)}
    found: list[Candidate] = []
    for values in itertools.product(*own.values()) if own else ():
        changed = resolve(with_changes(spec, _nested(spec, dict(zip(own, values, strict=True)))))
        candidate = Candidate({name: value_of(changed, name) for name in own}, changed)
        if any(same_run(changed, other.spec) for other in found):
            raise OptionError(f"sweep gives {candidate.text} twice; once is enough.")
        found.append(candidate)
    return found


def value_of(spec: RunSpec, name: str) -> Any:
    """A swept option's value in a resolved spec, plain."""
    for part in PARTS:
        options = getattr(spec, part.options_name)
        key = next((key for key in options if as_given(key) == name), None)
        if key is not None:
            value = options[key]
            return to_plain(("all" if value else "completion") if name == "loss_on" else value)
    return to_plain(getattr(spec, name))


def _nested(spec: RunSpec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` with each option in the mapping of the part that has it; `loss_on` stays as it is spelled."""
    nested: dict[str, Any] = {}
    for name, value in changes.items():
        part = next((part for part in PARTS if name in part.option_names(getattr(spec, part.name))), None)
        if part is None:
            nested[name] = value
        else:
            nested.setdefault(part.options_name, {})[name] = value
    return nested


def _options_of(spec: RunSpec) -> set[str]:
    """The options of a tuned run that a sweep may vary, as users spell them."""
    own = {as_given(name) for part in PARTS for name in part.option_names(getattr(spec, part.name))}
    return own | TUNING_OPTIONS


def _written(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else ",".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )
