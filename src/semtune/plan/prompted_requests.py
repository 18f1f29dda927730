"""Plans of prompting, for `semtune plan --strategy` and the guard before every prompted run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from semtune.approaches.prompted import CACHE_SHARE
from semtune.contracts import Task, TaskContext
from semtune.errors import DataError, OptionError
from semtune.generation.loglikelihood import FORWARD_TOKENS
from semtune.measure.machine import total_memory_bytes
from semtune.models.fake_model import most_parameters
from semtune.models.locate import locate_config
from semtune.plan import requests
from semtune.plan.devices import parse_device
from semtune.plan.prompted import PromptingData, plan_prompting
from semtune.plan.upper_bound import SPARE_BYTES, hidden_bytes
from semtune.records import Plan, RunSpec
from semtune.registry import STRATEGIES, TASKS
from semtune.specs import resolve
from semtune.specs.settings import parts_of, without_foreign_options


def plan_strategies(
    spec: RunSpec, strategies: Sequence[str], device: str, *, calibrate: bool = False, runtime_bytes: int
) -> tuple[requests.PlanResult, PromptingData]:
    """Plan each of `strategies` on the texts of the task of `spec`; the plans, and the texts.

    Args:
        spec: unresolved; its strategy is replaced by each of `strategies`. Where there are several, each gets those of
            the strategy options that it has.
        runtime_bytes: resident bytes of a process after its imports.

    Raises SemtuneError.
    """
    for name in strategies:
        STRATEGIES.check(name)
    target = parse_device(device, requests.local_device(device))
    task: Task = TASKS.get(spec.task)(spec.task_options)
    predicted = [task.load(split) for split in ("dev", "test")]
    data = PromptingData(TaskContext.of(task), task.load("train"), predicted)
    rates, notes = requests.rates_for(target, calibrate=calibrate)
    plans: list[Plan] = []
    for name in strategies:
        named = dataclasses.replace(spec, approach="prompted", strategy=name)
        if len(strategies) > 1:
            named = without_foreign_options(named, parts_of(named))
        try:
            plan, note = plan_prompting(resolve(named), data, target, rates, runtime_bytes)
        except (DataError, OptionError) as error:
            if len(strategies) == 1:
                raise
            plan, note = Plan(name, fits=False, reason=str(error)), None
        plans.append(plan)
        notes += [note] if note and note not in notes else []
    return requests.PlanResult(tuple(plans), target, (*target.assumptions, *notes)), data


def plan_prompted_run(spec: RunSpec, data: PromptingData, runtime_bytes: int) -> Plan:
    """Plan the prompted run of a resolved spec on this machine. Raises SemtuneError."""
    device = requests.local_device(spec.device)
    rates, _ = requests.rates_for(device, calibrate=False)
    plan, _ = plan_prompting(spec, data, device, rates, runtime_bytes)
    return plan


def prompting_surely_fits(spec: RunSpec) -> bool:
    """Whether an upper bound of a run's memory is below half of this machine's, so that the run needs no plan.

    The bound: weights in fp32 twice, the cache's share of memory, a layer of the largest forward, 1 GiB beside them.
    """
    config = locate_config(spec.model, trust_remote_code=spec.trust_remote_code, revision=spec.revision)
    parameters = most_parameters(config)
    if parameters is None:
        return False
    tokens = max(FORWARD_TOKENS, int(spec.strategy_options.get("prompt_tokens", FORWARD_TOKENS)))
    cache = total_memory_bytes() // CACHE_SHARE
    bound = 8 * parameters + cache + hidden_bytes(config, tokens, layers=1) + SPARE_BYTES
    return bound < requests.local_device(spec.device).memory_bytes / 2
