"""The prompted models and baselines of a study, as run specs by the name of their folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semtune.records import RunSpec, TaskOptions
from semtune.runs.identity import PERMISSIONS
from semtune.specs import resolve, spec_from
from semtune.specs.naming import naming
from semtune.study.grid import StudySpec
from semtune.study.naming import folder_names


def prompted_runs(study: StudySpec) -> dict[str, RunSpec]:
    """Every model × prompt × strategy × seed, resolved. Raises OptionError, UnknownNameError.

    The models in memory come first, then those behind the study's endpoint.
    """
    local = study.shared_in_memory
    specs = [
        _spec(study, "prompted", {**shared, "model": model, "prompt": prompt, "strategy": strategy, "seed": seed})
        for models, shared in ((study.models, local), (study.endpoint_models, study.shared))
        for model in models
        for prompt in study.prompts
        for strategy in study.strategies
        for seed in study.seeds
    ]
    return dict(zip(folder_names(specs, with_model=study.with_model), specs, strict=True))


def baseline_runs(study: StudySpec, names: tuple[str, ...]) -> dict[str, RunSpec]:
    """Baseline -> its resolved run spec. Raises UnknownNameError."""
    allowed = {name: study.shared[name] for name in PERMISSIONS if name in study.shared}
    return {name: _spec(study, "baseline", {"baseline": name, **allowed}) for name in names}


def _spec(study: StudySpec, approach: str, values: Mapping[str, Any]) -> RunSpec:
    options: TaskOptions = study.task_options
    known = {**values, "task": study.task, "approach": approach, "task_options": options}
    with naming(study.file):
        return resolve(spec_from(known, study.where, shared=True))
