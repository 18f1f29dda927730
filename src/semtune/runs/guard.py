"""The plan of a run: it stops a run that cannot fit, and is recorded beside what was measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from semtune.contracts import TaskContext
from semtune.errors import DoesNotFitError, OptionError, TargetError
from semtune.plan.requests import local_device
from semtune.records import Example, Plan, RunSpec
from semtune.runs.run_planners import RUN_PLANNERS, TunedRunPlanner

logger = logging.getLogger(__name__)


class Guard:
    """Plans one run of a plannable approach."""

    def __init__(
        self,
        spec: RunSpec,
        context: TaskContext,
        train: list[Example],
        predicted: Sequence[Sequence[Example]],
        plan: Plan | None,
    ) -> None:
        """`predicted`: the examples to predict, by split. `plan`: of this run, if it was made before."""
        self._planner = RUN_PLANNERS.get(spec.approach, TunedRunPlanner)(spec, context, train, predicted)
        self._device, self.plan = spec.device, plan

    def check(self, runtime_bytes: int, on_plan: Callable[[], None]) -> None:
        """Stop a run that cannot fit before it exhausts the machine.

        What fits by an upper bound is not planned yet; `on_plan` is called before planning, which takes seconds.
        Raises DoesNotFitError; OptionError and TargetError as `make_plan`.
        """
        if self.plan is None:
            if self._planner.surely_fits():
                return
            on_plan()
            self.make_plan(runtime_bytes)
        if self.plan is not None and not self.plan.fits:
            needed, free = max(self.plan.peak_bytes.values()), local_device(self._device).memory_bytes
            raise DoesNotFitError(
                f"the plan says {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; {self._planner.remedy}"
            )

    def plan_at_end(self, runtime_bytes: int) -> None:
        """Plan a finished run that started without a plan, where its record gets what was predicted."""
        if self.plan is None and self._planner.plans_finished:
            self.make_plan(runtime_bytes)

    def make_plan(self, runtime_bytes: int) -> None:
        """Plan this run. A failure to plan is logged, not printed, and neither stops the run nor its record.

        Raises OptionError, TargetError: the method cannot be attached to the model as its options ask.
        """
        try:
            self.plan = self._planner.plan(runtime_bytes)
        except (OptionError, TargetError):
            raise  # the run would end with the same sentence, after loading the model
        except Exception:
            logger.info("This run could not be planned", exc_info=True)
