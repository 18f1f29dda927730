"""The plan of a run: it stops a run that cannot fit, and is recorded beside what was measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from semtune.contracts import TaskContext
from semtune.errors import DoesNotFitError, OptionError, TargetError
from semtune.plan.prompted import PromptingData
from semtune.plan.prompted_requests import plan_prompted_run, prompting_surely_fits
from semtune.plan.requests import Data, local_device, plan_run, upper_bound_fits
from semtune.records import Example, Plan, RunSpec

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
        self._spec, self._data = spec, Data(context.space, train, [e for split in predicted for e in split])
        self._prompting = PromptingData(context, train, predicted) if spec.approach == "prompted" else None
        self.plan = plan

    def check(self, runtime_bytes: int, on_plan: Callable[[], None]) -> None:
        """Stop a run that cannot fit before it exhausts the machine.

        What fits by an upper bound is not planned yet; `on_plan` is called before planning, which takes seconds.
        Raises DoesNotFitError; OptionError and TargetError as `make_plan`.
        """
        if self.plan is None:
            if self._surely_fits:
                return
            on_plan()
            self.make_plan(runtime_bytes)
        if self.plan is not None and not self.plan.fits:
            needed, free = max(self.plan.peak_bytes.values()), local_device().memory_bytes
            raise DoesNotFitError(
                f"the plan says {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; {self._remedy}"
            )

    @property
    def _surely_fits(self) -> bool:
        """Whether an upper bound of the run's memory is far below this machine's."""
        if self._prompting is None:
            return upper_bound_fits(self._spec, self._data)
        return prompting_surely_fits(self._spec)

    @property
    def _remedy(self) -> str:
        """What a user can do where a run does not fit."""
        if self._prompting is None:
            return "`semtune plan` says what would make it fit, `--fit` does it"
        return "give --precision nf4, fewer prompt_tokens with --strategy-option, or a smaller model"

    def plan_at_end(self, runtime_bytes: int) -> None:
        """Plan a finished run that started without a plan, so that its record has what was predicted.

        But not one of a single fold, which is one of many alike, nor a prompted one: planning takes seconds, which is
        as long as predicting a small task.
        """
        if self.plan is None and self._prompting is None and self._spec.fold is None:
            self.make_plan(runtime_bytes)

    def make_plan(self, runtime_bytes: int) -> None:
        """Plan this run. A failure to plan is logged, not printed, and neither stops the run nor its record.

        Raises OptionError, TargetError: the method cannot be attached to the model as its options ask.
        """
        try:
            if self._prompting is None:
                _, self.plan = plan_run(self._spec, self._data, runtime_bytes)
            else:
                self.plan = plan_prompted_run(self._spec, self._prompting, runtime_bytes)
        except (OptionError, TargetError):
            raise  # the run would end with the same sentence, after loading the model
        except Exception:
            logger.info("This run could not be planned", exc_info=True)
