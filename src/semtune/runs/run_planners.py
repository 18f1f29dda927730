"""How a run is planned, for each approach that can be: the guard asks these and does not know which approach it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from semtune.contracts import TaskContext
from semtune.plan.prompted import PromptingData
from semtune.plan.prompted_requests import plan_prompted_run, prompting_surely_fits
from semtune.plan.requests import Data, plan_run
from semtune.plan.upper_bound import upper_bound_fits
from semtune.records import Example, Plan, RunSpec


class RunPlanner(Protocol):
    """Plans one run, of a resolved spec on given examples."""

    remedy: str
    """What a user can do where the run does not fit."""
    plans_finished: bool
    """Whether a finished run that started without a plan gets one for its record: planning takes seconds."""

    def surely_fits(self) -> bool:
        """Whether an upper bound of the run's memory is far below this machine's."""
        ...

    def plan(self, runtime_bytes: int) -> Plan:
        """The plan. Raises SemtuneError."""
        ...


class TunedRunPlanner:
    """Plans tuning. A finished run of a single fold gets no plan: it is one of many alike."""

    remedy = "`semtune plan` says what would make it fit, `--fit` does it"

    def __init__(
        self, spec: RunSpec, context: TaskContext, train: list[Example], predicted: Sequence[Sequence[Example]]
    ) -> None:
        self._spec, self._data = spec, Data(context.space, train, [e for split in predicted for e in split])
        self.plans_finished = spec.fold is None

    def surely_fits(self) -> bool:
        """See `RunPlanner.surely_fits`."""
        return upper_bound_fits(self._spec, self._data)

    def plan(self, runtime_bytes: int) -> Plan:
        """See `RunPlanner.plan`."""
        return plan_run(self._spec, self._data, runtime_bytes)[1]


class PromptedRunPlanner:
    """Plans prompting. A finished run gets no plan: planning takes as long as predicting a small task."""

    remedy = "give --precision nf4, fewer prompt_tokens with --strategy-option, or a smaller model"
    plans_finished = False

    def __init__(
        self, spec: RunSpec, context: TaskContext, train: list[Example], predicted: Sequence[Sequence[Example]]
    ) -> None:
        self._spec, self._data = spec, PromptingData(context, train, predicted)

    def surely_fits(self) -> bool:
        """See `RunPlanner.surely_fits`."""
        return prompting_surely_fits(self._spec)

    def plan(self, runtime_bytes: int) -> Plan:
        """See `RunPlanner.plan`."""
        return plan_prompted_run(self._spec, self._data, runtime_bytes)


MakePlanner = Callable[[RunSpec, TaskContext, list[Example], Sequence[Sequence[Example]]], RunPlanner]
RUN_PLANNERS: Mapping[str, MakePlanner] = {"prompted": PromptedRunPlanner}
"""Approach -> its planner, where that is not `TunedRunPlanner`; an approach that is not plannable needs none."""
