"""`sweep` of a study: options and the values of each that are compared for every row, checked, and as run specs.

A row sweeps the options of its own parts: of a tuned model its method, readout, prompt and optimizer beside the options
of tuning, of a prompted one its strategy and prompt. What a row does not have is left out for it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semtune.errors import OptionError, SemtuneError, did_you_mean
from semtune.records import TUNING_OPTIONS, RunSpec, to_plain
from semtune.registry import APPROACHES, OPTIMIZERS
from semtune.runs.identity import same_run
from semtune.specs import resolve, with_changes
from semtune.specs.kinds import IN_STUDIES, shown
from semtune.specs.settings import METHOD, OPTIMIZER, READOUT, STRATEGY, Part, as_given, option_fields, parts_of

FLAG = "--sweep"
Check = Callable[[RunSpec], object]
"""Raises SemtuneError for a resolved spec whose values exclude each other or do not serve the task."""
_Values = Mapping[str, Sequence[Any]]


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


def check_swept(sweep: _Values, specs: Sequence[RunSpec], where: str) -> None:
    """Raises OptionError for an option that no run of the study has. `specs`: its runs but baselines, resolved."""
    known = {name for spec in specs for name in _options_of(spec)}
    if "optimizer" in known:
        others = [dataclasses.replace(spec, optimizer=value) for spec in specs for value in sweep.get("optimizer", ())]
        known |= {name for other in others if other.optimizer in OPTIMIZERS for name in _options_of(other)}
    approaches = {spec.approach for spec in specs}
    for name in sweep:
        if name in known:
            continue
        if name in IN_STUDIES:
            several = IN_STUDIES[name]
            raise OptionError(
                f'{where}: sweep cannot vary "{name}", which is no option of how its models are '
                f"{_how(approaches)}; a study compares several as rows, as {several}: […, …]."
            )
        if "tuned" not in approaches and (name in TUNING_OPTIONS or _has(name, METHOD, READOUT, OPTIMIZER)):
            raise OptionError(f"{where} sweeps {name} but tunes no model; name methods, or leave {name} out of sweep.")
        if "prompted" not in approaches and _has(name, STRATEGY):
            raise OptionError(
                f"{where} sweeps {name}, an option of prompting strategies, but has none; name strategies, or leave "
                f"{name} out of sweep."
            )
        raise OptionError(
            f'{where}: sweep cannot vary "{name}", which is no option of how its models are {_how(approaches)}; '
            f"{did_you_mean(name, [option for option in known if '.' not in option])}"
        )


@dataclass(frozen=True)
class Candidate:
    """One combination of values, and the run spec with it, resolved."""

    value: Mapping[str, Any]
    spec: RunSpec

    @property
    def text(self) -> str:
        """ "learning_rate 0.001, rank 8"."""
        return ", ".join(f"{name} {written(value)}" for name, value in self.value.items())


@dataclass(frozen=True)
class Choice:
    """What one row chooses among."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...]
    """What of the sweep the row does not have: "learning_rate", "order nearest-last"."""
    has_options: bool = True
    """Whether it has any of the options, maybe with fewer than two of the values."""


@dataclass
class _Tried:
    """What a row made of each swept value by itself."""

    bases: list[tuple[dict[str, Any], RunSpec, dict[str, list[Any]]]] = field(default_factory=list)
    """For every optimizer that is swept (else once): its value, the spec with it, option -> the values it can have."""
    verdicts: dict[tuple[str, int], SemtuneError | None] = field(default_factory=dict)
    """Option and number of a value -> why the row cannot have it; None: it can. Nothing of options that it lacks."""


def choices(specs: Sequence[RunSpec], sweep: _Values, check: Check) -> list[Choice]:
    """For each of the resolved `specs`, one a row, every combination of the values that it can have.

    Raises SemtuneError: a value that no row can have, values that exclude each other, or the same one twice.
    """
    rows = [_tried(spec, sweep, check) for spec in specs]
    for name, values in sweep.items():
        for index in range(len(values)):
            verdicts = [row.verdicts[name, index] for row in rows if (name, index) in row.verdicts]
            if verdicts and (refusal := verdicts[0]) is not None and None not in verdicts:
                raise refusal
    return [Choice(tuple(_candidates(row, sweep, check)), _left_out(row, sweep), bool(row.verdicts)) for row in rows]


def value_of(spec: RunSpec, name: str) -> Any:
    """A swept option's value in a resolved spec, plain."""
    part, option = _options_of(spec)[name]
    value = getattr(spec, option) if part is None else getattr(spec, part.options_name)[option]
    return to_plain(("all" if value else "completion") if option == "train_on_prompt" else value)


def written(value: Any) -> str:
    """A value in a sentence."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return shown(value) if isinstance(value, str) and " " in value else str(value)


def _tried(spec: RunSpec, sweep: _Values, check: Check) -> _Tried:
    """Each value by itself in a run like `spec`."""
    row = _Tried()
    for chosen, base in _with_each_optimizer(spec, sweep, row, check):
        accepted: dict[str, list[Any]] = {}
        own = _options_of(base)
        for name in sweep:
            if name not in own or name in chosen or name == "optimizer":
                continue
            accepted[name] = []
            for index, value in enumerate(sweep[name]):
                try:
                    check(_changed(base, {name: value}))
                    row.verdicts[name, index] = None
                    accepted[name].append(value)
                except SemtuneError as error:
                    row.verdicts.setdefault((name, index), error)
        row.bases.append((chosen, base, accepted))
    return row


def _with_each_optimizer(
    spec: RunSpec, sweep: _Values, row: _Tried, check: Check
) -> Iterable[tuple[dict[str, Any], RunSpec]]:
    """`spec` with each optimizer that is swept and that it can have, noted in `row`; as it is where that is none."""
    found: list[tuple[dict[str, Any], RunSpec]] = []
    if "optimizer" in sweep and "optimizer" in _options_of(spec):
        for index, value in enumerate(sweep["optimizer"]):
            try:
                changed = _with_optimizer(spec, str(value))
                check(changed)
                row.verdicts["optimizer", index] = None
                found.append(({"optimizer": value}, changed))
            except SemtuneError as error:
                row.verdicts["optimizer", index] = error
    return found if len(found) > 1 else [({}, spec)]


def _with_optimizer(spec: RunSpec, name: str) -> RunSpec:
    """`spec` with another optimizer, and with those of the optimizer's options that differ from their defaults and that
    the other one has too. Raises UnknownNameError."""
    OPTIMIZERS.check(name)
    defaults = {f.name: f.default for f in option_fields(OPTIMIZER.settings_class(spec.optimizer))}
    known = OPTIMIZER.option_names(name)
    kept = {k: v for k, v in spec.optimizer_options.items() if k in known and v != defaults[k]}
    return resolve(dataclasses.replace(spec, optimizer=name, optimizer_options=kept))


def _candidates(row: _Tried, sweep: _Values, check: Check) -> list[Candidate]:
    """Every combination of values; [] where there is nothing to choose. Raises SemtuneError."""
    found: list[Candidate] = []
    for chosen, base, accepted in row.bases:
        own = {name: values for name, values in accepted.items() if len(values) > 1}
        if not own and not chosen:
            continue
        for values in itertools.product(*own.values()):
            changed = _changed(base, dict(zip(own, values, strict=True)))
            check(changed)
            names = [name for name in sweep if name in own or name in chosen]
            candidate = Candidate({name: value_of(changed, name) for name in names}, changed)
            if any(same_run(changed, other.spec) for other in found):
                raise OptionError(f"sweep gives {candidate.text} twice; once is enough.")
            found.append(candidate)
    return found


def _left_out(row: _Tried, sweep: _Values) -> tuple[str, ...]:
    """What the row does not have: whole options, and of others the values."""
    phrases: list[str] = []
    for name, values in sweep.items():
        had = [(name, i) in row.verdicts and row.verdicts[name, i] is None for i in range(len(values))]
        refused = [value for value, accepted in zip(values, had, strict=True) if not accepted]
        if len(refused) > len(values) - 2:
            phrases.append(name)
        else:
            phrases += [f"{name} {written(value)}" for value in refused]
    return tuple(phrases)


def _changed(spec: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """`spec` with other values of swept options, resolved. Raises OptionError, UnknownNameError."""
    nested: dict[str, Any] = {}
    known = _options_of(spec)
    for name, value in changes.items():
        part, option = known[name]
        if part is None or option == "train_on_prompt":
            nested[as_given(option)] = value
        else:
            nested.setdefault(part.options_name, {})[option] = value
    return resolve(with_changes(spec, nested))


def _options_of(spec: RunSpec) -> dict[str, tuple[Part | None, str]]:
    """The options of a run that a sweep may vary, as users spell them -> their part (None: the run itself), their name.

    An option that two parts have is the first one's; "optimizer.rank" is the optimizer's in any case.
    """
    found: dict[str, tuple[Part | None, str]] = {
        name: (None, name) for name in TUNING_OPTIONS - APPROACHES.get(spec.approach).ignores
    }
    for part in parts_of(spec):
        for name in part.option_names(getattr(spec, part.name)):
            found.setdefault(as_given(name), (part, name))
            found[f"{part.name}.{as_given(name)}"] = part, name
    return found


def _has(name: str, *parts: Part) -> bool:
    """Whether any registered object of these parts has the option."""
    return any(name in map(as_given, part.option_names(member)) for part in parts for member in part.registry)


def _how(approaches: Iterable[str]) -> str:
    return " or ".join(sorted(approaches, reverse=True)) or "tuned or prompted"
