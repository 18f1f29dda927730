"""A RunSpec checked, and completed with what presets and `Settings` say."""

from __future__ import annotations

import dataclasses
import os

from semtune.errors import OptionError
from semtune.records import ENDPOINT_OPTIONS, RunSpec
from semtune.registry import APPROACHES, BASELINES, METHODS, OPTIMIZERS, PROMPTS, READOUTS, STRATEGIES, TASKS
from semtune.specs.folds import check_fold
from semtune.specs.naming import RUN_OPTIONS, BoundsError
from semtune.specs.optimizers import check_optimizer
from semtune.specs.precision import AUTO, normalise_precision
from semtune.specs.record import record_from
from semtune.specs.serves import check_trains
from semtune.specs.settings import (
    PRECISION,
    RUN_FIELDS,
    check_foreign_options,
    check_knowledge,
    filled_options,
    with_present_names,
)

_NAMES_AN_APPROACH = ("strategy", "baseline")
"""Choices that one approach alone has, and that have no default."""
MOST_THREADS, MOST_THREADS_PER_CORE = 64, 4
"""A run may have as many threads as the larger of the two allows."""


def resolve(spec: RunSpec) -> RunSpec:
    """`spec` with names and values checked, and every option of its method, readout and prompt filled in.

    Raises:
        UnknownNameError: a task, method, prompt, readout or preset that does not exist.
        OptionError: an impossible value, or an option that the method (readout, prompt) does not have.
    """
    TASKS.check(spec.task)
    typed = record_from(RunSpec, {name: getattr(spec, name) for name in RUN_FIELDS}, RUN_OPTIONS)
    typed = with_present_names(typed)
    _check_choices(typed)
    check_foreign_options(typed)
    check_knowledge(typed)
    _check_threads(typed)
    check_fold(typed)
    _check_endpoint(typed)
    full = dataclasses.replace(typed, **filled_options(typed))
    normalise_precision(full.method_options.get(PRECISION, AUTO))
    uses = APPROACHES.get(full.approach).uses
    if {"method", "readout"} <= uses:
        check_trains(full.method, full.readout)
    if "optimizer" in uses:
        check_optimizer(full)
    return full


def _check_choices(spec: RunSpec) -> None:
    """Every choice that the approach uses is made, and registered. Raises OptionError, UnknownNameError."""
    uses = APPROACHES.get(spec.approach).uses
    for name, registry in (
        ("prompt", PROMPTS), ("readout", READOUTS), ("method", METHODS), ("strategy", STRATEGIES),
        ("baseline", BASELINES), ("optimizer", OPTIMIZERS),
    ):  # fmt: skip
        if name not in uses:
            if name in _NAMES_AN_APPROACH and getattr(spec, name) is not None:
                wanted = next(a for a in APPROACHES if name in APPROACHES.get(a).uses)
                raise OptionError(
                    f"--{name} {getattr(spec, name)} is for the approach {wanted}, but this run's is {spec.approach}; "
                    f"give --approach {wanted}, or leave --{name} out."
                )
            continue
        if getattr(spec, name) is None:
            raise OptionError(f"A run of the approach {spec.approach} needs a {name}; name one with --{name}.")
        registry.check(getattr(spec, name))


def _check_endpoint(spec: RunSpec) -> None:
    """Raises OptionError for an endpoint of an approach that asks none, and for its options without one."""
    if spec.endpoint is None:
        for field in dataclasses.fields(spec):
            if field.name in ENDPOINT_OPTIONS and getattr(spec, field.name) != field.default:
                flag = "--" + field.name.replace("_", "-")
                raise OptionError(f"{flag} is about a server; give its URL with --endpoint, or leave {flag} out.")
    elif "endpoint" not in APPROACHES.get(spec.approach).uses:
        raise OptionError(
            f"A server answers prompts and is neither tuned nor fitted, so --endpoint is not for the approach "
            f"{spec.approach}; give --approach prompted --strategy zero-shot, or leave --endpoint out."
        )


def _check_threads(spec: RunSpec) -> None:
    """Refuse far more threads than cores: each takes a stack, and OpenMP ends the process where one cannot be made."""
    cores = os.cpu_count() or 1
    most = max(MOST_THREADS, MOST_THREADS_PER_CORE * cores)
    if spec.threads is not None and spec.threads > most:
        reason = f"must be at most {most} on this machine ({cores} cores), not {spec.threads}."
        raise BoundsError("--threads", reason, key="threads", where=RUN_OPTIONS)
