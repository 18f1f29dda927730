"""The prompted models and baselines of a study, as run specs by the name of their folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semtune.records import RunSpec, TaskOptions
from semtune.runs.identity import PERMISSIONS
from semtune.specs import resolve, spec_from, with_changes
from semtune.specs.naming import naming
from semtune.specs.settings import STRATEGY, check_shared_options
from semtune.specs.spec import nested
from semtune.study.grid import StudySpec
from semtune.study.naming import folder_names

ANSWER = "answer"
"""The option of strategies whose values a study lists as `answers`."""


def prompted_runs(study: StudySpec) -> dict[str, RunSpec]:
    """Every model × prompt × strategy × way of answering × seed, resolved. Raises OptionError, UnknownNameError.

    The models in memory come first, then those behind the study's endpoint. An option that some strategies have goes to
    these; the study's overrides of a strategy stand above it.
    """
    with naming(study.file):
        options = nested(study.shared, study.where).get(STRATEGY.options_name)
        if options and study.strategies:
            check_shared_options(STRATEGY, options, study.strategies)
    local = study.shared_in_memory
    specs = [
        _prompted(study, {**shared, "model": model, "prompt": prompt, "strategy": strategy, "seed": seed}, answer)
        for models, shared in ((study.models, local), (study.endpoint_models, study.shared))
        for model in models
        for prompt in study.prompts
        for strategy in study.strategies
        for answer in _answers(study, strategy)
        for seed in study.seeds
    ]
    return dict(zip(folder_names(specs, with_model=study.with_model), specs, strict=True))


def _answers(study: StudySpec, strategy: str) -> tuple[str, ...] | tuple[None]:
    """The ways of answering that give a row each; None: as the strategy's options say."""
    return study.answers if study.answers and ANSWER in STRATEGY.option_names(strategy) else (None,)


def _prompted(study: StudySpec, values: Mapping[str, Any], answer: str | None) -> RunSpec:
    """A prompted run with what the study overrides for its strategy."""
    with naming(study.file):
        changed = with_changes(_shared(study, "prompted", values), study.overrides.get(values["strategy"], {}))
        if answer is not None:
            changed = with_changes(changed, {STRATEGY.options_name: {ANSWER: answer}})
        return resolve(changed)


def baseline_runs(study: StudySpec, names: tuple[str, ...]) -> dict[str, RunSpec]:
    """Baseline -> its resolved run spec. Raises UnknownNameError."""
    allowed = {name: study.shared[name] for name in PERMISSIONS if name in study.shared}
    with naming(study.file):
        return {name: resolve(_shared(study, "baseline", {"baseline": name, **allowed})) for name in names}


def _shared(study: StudySpec, approach: str, values: Mapping[str, Any]) -> RunSpec:
    """A run with those of the study's options that it has, not resolved."""
    options: TaskOptions = study.task_options
    known = {**values, "task": study.task, "approach": approach, "task_options": options}
    return spec_from(known, study.where, shared=True)
