"""A study file, checked, and the grid of runs that it describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from semtune.errors import OptionError, UnknownNameError
from semtune.records import ENDPOINT_OPTIONS, TUNING_OPTIONS, RunSpec, TaskOptions, option
from semtune.registry import ANSWERS, BASELINES, LAUNCHERS, STRATEGIES, Registry
from semtune.specs import record_from, resolve, spec_from, with_changes
from semtune.specs.kinds import shown, yaml_reading
from semtune.specs.naming import naming
from semtune.specs.presets import DEFAULT_PRESET, preset_values
from semtune.specs.record import mapping_from, unknown_key
from semtune.specs.settings import METHOD, PRECISION, PROMPT, READOUT, as_given, check_shared_options
from semtune.specs.spec import EARLIER_KEYS, SPEC_KEYS, merged, nested
from semtune.study.naming import folder_names
from semtune.study.overrides import overrides_from, without_options
from semtune.study.sweep_values import swept_from

AXES = {"models": "model", "methods": "method", "prompts": "prompt", "readouts": "readout", "seeds": "seed"}
"""Keys of a study file that list values, and the run option that each varies."""
PRESET_AXES = ("prompts", "readouts")
"""Axes whose one value is the preset's where the study names none."""
STUDY_KEYS = ("strategies", "answers", "baselines", "endpoint_models", "launcher", "parallel", "sweep", "sweep_folds")
"""Further keys that are the study's own, not options of its runs."""

_INSTEAD = {"methods": "strategies", "models": "endpoint_models"}
"""A key whose list may be empty -> the key that has something in its place then."""
NO_NAMES = ("none", "no", "", False, None)
"""What a study file may have in place of [], an empty list of names."""


@dataclass(frozen=True, slots=True)
class StudySpec:
    """A checked study file: the values of each axis, and the options of the runs."""

    task: str
    models: tuple[str, ...] = ("default",)
    methods: tuple[str, ...] = ("full", "lora", "qlora", "dora")
    prompts: tuple[str, ...] = ("report",)
    readouts: tuple[str, ...] = ("head",)
    seeds: tuple[int, ...] = (0,)
    shared: Mapping[str, Any] = field(default_factory=dict)
    """Options of all runs, e.g. epochs; an option of methods, e.g. rank, applies to the methods that have it."""
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Method or strategy -> its options, which override the shared ones; it must have them."""
    task_options: TaskOptions = field(default_factory=TaskOptions)
    strategies: tuple[str, ...] = ()
    """Prompting strategies: each gives a row with every model, prompt, way of answering and seed."""
    answers: tuple[str, ...] = ()
    """Ways of answering (the option `answer`) of the strategies that have one; (): as their options say."""
    baselines: tuple[str, ...] | None = None
    """None: all that are registered."""
    endpoint_models: tuple[str, ...] = ()
    """The server's names of models that the strategies ask too, beside `models`."""
    launcher: str = "process"
    parallel: int = option(1, at_least=1, at_most=1024, help="Maximum number of runs at once.")
    sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Option -> values, of which each row gets the best by cross-validation on train and dev before its runs."""
    sweep_folds: int = option(3, at_least=2, at_most=100, help="Folds of the sweep's cross-validation.")
    file: str = option("", help="The study file, for messages; without it the study is from no file.", per_call=True)

    @property
    def where(self) -> str:
        """What messages call the study."""
        return self.file or "the study"

    def runs(self) -> dict[str, RunSpec]:
        """Every run by the name of its folder, resolved. Raises OptionError, UnknownNameError."""
        shared = nested(self.shared, self.where)
        with naming(self.file):
            for part, chosen in ((METHOD, self.methods), (READOUT, self.readouts), (PROMPT, self.prompts)):
                if shared.get(part.options_name):
                    check_shared_options(part, shared[part.options_name], chosen)
            specs = [
                self._run(model, method, prompt, readout, seed)
                for model in self.models
                for readout in self.readouts
                for prompt in self.prompts
                for method in self.methods
                for seed in self.seeds
            ]
        return dict(zip(folder_names(specs, with_model=self.with_model), specs, strict=True))

    @property
    def with_model(self) -> bool:
        """Whether the folders of runs have the model in their names."""
        return len(self.models) + len(self.endpoint_models) > 1

    @property
    def shared_in_memory(self) -> dict[str, Any]:
        """The options of runs whose model is in memory: those without the server's."""
        return {key: value for key, value in self.shared.items() if key not in ENDPOINT_OPTIONS | {"endpoint"}}

    def _run(self, model: str, method: str, prompt: str, readout: str, seed: int) -> RunSpec:
        names: dict[str, Any] = {
            "task": self.task,
            "model": model,
            "method": method,
            "prompt": prompt,
            "readout": readout,
        }
        names |= {"seed": seed, "task_options": self.task_options}
        changes = self.overrides.get(method, {})
        preset = {key: value for key, value in changes.items() if key == "preset"}
        shared = spec_from({**self.shared_in_memory, **preset, **names}, self.where, shared=True)
        return resolve(with_changes(shared, changes))

    def unused(self) -> list[str]:
        """A sentence about each thing in the study file that applies to none of its runs."""
        shared = nested(self.shared, self.where)
        sentences = self._idle_without_methods(shared)
        for part, chosen in ((METHOD, self.methods), (READOUT, self.readouts), (PROMPT, self.prompts)):
            known = {name for member in chosen for name in part.option_names(member)}
            sentences += [
                f"{as_given(option)} has no effect in this study: no {part.name} of it ({', '.join(chosen)}) has it"
                for option in shared.get(part.options_name, {})
                if option not in known and not (part is METHOD and option == PRECISION)
            ]
        if not self.strategies and shared.get("strategy_options"):
            names = ", ".join(as_given(name) for name in shared["strategy_options"])
            sentences.append(f"{names} has no effect in this study: it has no strategies")
        if self.answers and not self.strategies:
            sentences.append("answers has no effect in this study: it has no strategies")
        absent = [name for name in self.overrides if name not in (*self.methods, *self.strategies)]
        return [*sentences, *(f"the overrides of {m} have no effect: the study does not run {m}" for m in absent)]

    def _idle_without_methods(self, shared: Mapping[str, Any]) -> list[str]:
        """Sentences about options of tuning where the study tunes no model."""
        if self.methods:
            return []
        idle = [as_given(name) for name in shared if name in TUNING_OPTIONS]
        idle += ["readouts"] if len(self.readouts) > 1 else []
        return [f"{name} has no effect in this study: it tunes no model" for name in idle]


def study_from(values: Mapping[str, Any], where: str, *, from_file: bool = False) -> StudySpec:
    """A study from plain values: the axes (singular or plural), run options shared by all, and `overrides`.

    Args:
        where: names the values in messages.
        from_file: whether `where` is a study file, which every later message about the study's options names.

    Raises:
        UnknownNameError: an unknown key, also within `overrides`, or an unknown method there.
        OptionError: a value of the wrong type, or an empty axis.
    """
    file = where if from_file else ""
    with naming(file):
        return replace(_study(values, where), file=file)


def _study(values: Mapping[str, Any], where: str) -> StudySpec:
    """What `study_from` returns, but for its file."""
    remaining = dict(values)
    axes: dict[str, Any] = {}
    for plural, singular in AXES.items():
        given = [key for key in (plural, singular) if key in remaining]
        if len(given) == 2:
            raise OptionError(f'{where} has both "{plural}" and "{singular}"; keep one of them.')
        if given == ["seeds"]:
            _check_is_no_count(remaining["seeds"], where)
        if given:
            may_be_empty = plural in _INSTEAD and bool(remaining.get(_INSTEAD[plural]))
            axes[plural] = _as_list(remaining.pop(given[0]), given[0], where, may_be_empty=may_be_empty)
            if plural == "seeds":
                _check_seeds(axes[plural], given[0], where)
    for key, registry in (("strategies", STRATEGIES), ("answers", ANSWERS), ("baselines", BASELINES)):
        if key in remaining:
            axes[key] = _as_list(remaining.pop(key), key, where, may_be_empty=True)
            _check_names(axes[key], key, registry, where)
    _take_endpoint_models(remaining, axes, where)
    axes |= {key: remaining.pop(key) for key in STUDY_KEYS if key in remaining}
    axes["sweep"] = swept_from(axes.get("sweep") or {}, where)
    LAUNCHERS.check(str(axes.get("launcher", "process")))
    if "task" not in remaining:
        raise OptionError(f"{where} names no task; add a line such as `task: practice`.")
    task = remaining.pop("task")
    options = record_from(TaskOptions, mapping_from(remaining, "task_options", where), f"task_options in {where}")
    remaining.pop("task_options", None)
    overrides = overrides_from(remaining.pop("overrides", None) or {}, where, _check_run_options)
    for axis in PRESET_AXES:
        if axis not in axes and AXES[axis] in (preset := preset_values(remaining.get("preset", DEFAULT_PRESET))):
            axes[axis] = [preset[AXES[axis]]]
    _check_run_options(remaining, where)
    _check_answers(axes, remaining, overrides, where)
    record = {"task": task, **axes, "shared": remaining, "overrides": overrides, "task_options": options}
    return record_from(StudySpec, record, where)


def _take_endpoint_models(remaining: dict[str, Any], axes: dict[str, Any], where: str) -> None:
    """Move the server's models from `remaining` to `axes`; a study of these alone has no models in memory.

    Raises OptionError for a server without models, models without a server, or neither asked by a strategy.
    """
    models = _as_list(remaining.pop("endpoint_models", []), "endpoint_models", where, may_be_empty=True)
    if (remaining.get("endpoint") is not None) != bool(models):
        missing = "an endpoint and no endpoint_models" if not models else "endpoint_models and no endpoint"
        raise OptionError(
            f"{where} names {missing}; give both, such as endpoint: http://localhost:8000/v1 and endpoint_models: "
            "[NAME], the server's names of its models."
        )
    if not models:
        return
    if not axes.get("strategies"):
        raise OptionError(
            f"{where} names an endpoint, which prompting strategies ask, and no strategies; add such as strategies: "
            "[zero-shot], or leave the endpoint out."
        )
    axes["endpoint_models"] = models
    if axes.get("methods") == []:
        axes.setdefault("models", [])
    elif axes.get("models") == []:
        raise OptionError(f'{where}: "models" is empty, and methods need one to tune; write methods: [] too.')


def overridden(file: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A study's plain values: those of the file, overridden by `given` (plural axes, options of runs)."""
    base = {key: value for key, value in file.items() if not any(AXES[axis] == key for axis in AXES.keys() & given)}
    options = {key: value for key, value in base.items() if key in SPEC_KEYS or key in EARLIER_KEYS}
    own = {*AXES, *STUDY_KEYS}
    axes = {key: value for key, value in given.items() if key in own}
    above = {key: value for key, value in given.items() if key not in own}
    both = merged(nested(options, where), nested(above, where))
    both["task_options"] = {k: v for of in (options, above) for k, v in mapping_from(of, "task_options", where).items()}
    rest = {key: value for key, value in base.items() if key not in options}
    if isinstance(rest.get("overrides"), Mapping):
        rest["overrides"] = without_options(rest["overrides"], above)
    return {**rest, **axes, **both}


def _as_list(value: Any, key: str, where: str, *, may_be_empty: bool = False) -> list[Any]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if not items and not may_be_empty:
        instead = f", or give {_INSTEAD[key]}" if key in _INSTEAD else ""
        raise OptionError(f'{where}: "{key}" is empty; name at least one{instead}.')
    doubled = sorted({str(item) for item in items if items.count(item) > 1})
    if doubled:
        raise OptionError(f'{where}: "{key}" names {", ".join(doubled)} twice; once is enough.')
    return items


def _check_is_no_count(seeds: Any, where: str) -> None:
    """Raises OptionError for `seeds: 3`, by which its writer may mean three seeds or the seed 3."""
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 1:
        raise OptionError(
            f'{where}: "seeds" is the one number {seeds}; write seeds: [{seeds}] for that seed alone, or name each, '
            "such as seeds: [0, 1, 2]."
        )


def _check_seeds(seeds: list[Any], key: str, where: str) -> None:
    """Raises OptionError for a seed that is no whole number, such as "0-2" or true."""
    for seed in seeds:
        whole = not isinstance(seed, bool) and re.fullmatch(r"[-+]?\d+(\.0)?", str(seed))
        if not whole:
            raise OptionError(
                f'{where}: "{key}" must be a list of whole numbers, such as seeds: [0, 1, 2], not {shown(seed)}.'
            )


def _check_names(names: list[Any], key: str, registry: Registry, where: str) -> None:
    """Raises UnknownNameError for a name that is not registered; one such as "none" may have been meant as no names."""
    known = ", ".join(sorted(registry))
    for name in names:
        reading = yaml_reading(name)
        if name in NO_NAMES and name not in registry:
            also = f"{reading}; " if reading else ""
            raise UnknownNameError(
                f"{where}: there is no {registry.kind} called {shown(name)}; for no {key} write {key}: [] "
                f'({also}as an option --{key} ""), for some, names from {known}.'
            )
        if reading:
            raise UnknownNameError(f"{where}: there is no {registry.kind} called {name} ({reading}). Known: {known}.")
        registry.check(str(name))


def _check_answers(
    axes: Mapping[str, Any], shared: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]], where: str
) -> None:
    """Raises OptionError where `answers` are rows and `answer` is an option, or swept, too."""
    if not axes.get("answers"):
        return
    given = [mapping_from(values, "strategy_options", where) for values in (shared, *overrides.values())]
    if "answer" in axes["sweep"] or any("answer" in options for options in given):
        also = "sweeps" if "answer" in axes["sweep"] else "sets the option"
        raise OptionError(f'{where} lists "answers" as rows and {also} "answer" too; keep one of them.')


def _check_run_options(values: Mapping[str, Any], where: str) -> None:
    elsewhere = {"task", "task_options", "approach", "strategy", "baseline", "fold", *AXES.values()}
    allowed = [key for key in SPEC_KEYS if key not in elsewhere]
    for key in values:
        if key not in allowed and key not in EARLIER_KEYS:
            known = [*allowed, "task", "task_options", "overrides", *AXES, *STUDY_KEYS]
            raise unknown_key(key, known, where)
    nested(values, where)
