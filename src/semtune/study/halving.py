"""Successive halving by Optuna: which values of an option are given up before all their runs are done.

The values are trials of one Optuna study, compared one after another (asynchronous successive halving, Li et al. 2018,
arXiv:1810.05934). After 1, 2, 4, 8, … runs a value goes on only if its mean is in the better half of all that came as
far; the best so far always goes on. Optuna is an optional dependency and is imported here alone.
"""

from __future__ import annotations

from typing import Any

from semtune.errors import OptionError

REDUCTION_FACTOR, MIN_RESOURCE = 2, 1
_INDEX = "value"


class Halving:
    """One comparison of `count` values."""

    def __init__(self, count: int, *, higher_is_better: bool) -> None:
        """Raises OptionError where Optuna is not installed."""
        optuna = imported_optuna()
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it says on standard error that a study was created
        self._study = optuna.create_study(
            direction="maximize" if higher_is_better else "minimize",
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: every value is enqueued
            pruner=optuna.pruners.SuccessiveHalvingPruner(MIN_RESOURCE, REDUCTION_FACTOR),
        )
        optuna.logging.set_verbosity(level)
        self._space = {_INDEX: optuna.distributions.IntDistribution(0, count - 1)}
        self._states = optuna.trial.TrialState

    def begin(self, index: int) -> HalvingTrial:
        """The trial of the value `index`; the one before has ended."""
        self._study.enqueue_trial({_INDEX: index})
        return HalvingTrial(self._study, self._study.ask(self._space), self._states)


class HalvingTrial:
    """One value under way."""

    def __init__(self, study: Any, trial: Any, states: Any) -> None:
        self._study, self._trial, self._states = study, trial, states

    def gives_up(self, runs: int, mean: float) -> bool:
        """Whether the value is given up after so many runs with that mean score; it has then ended."""
        self._trial.report(mean, runs)
        if not self._trial.should_prune():
            return False
        self._study.tell(self._trial, state=self._states.PRUNED)
        return True

    def complete(self, mean: float) -> None:
        """All runs are done."""
        self._study.tell(self._trial, mean)

    def fail(self) -> None:
        """A run has no score, so the value is out."""
        self._study.tell(self._trial, state=self._states.FAIL)


def imported_optuna() -> Any:
    """The library. Raises OptionError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise OptionError("A sweep needs Optuna; run pip install optuna, or leave sweep out.") from error
    return optuna


def pruner_name() -> str:
    """What prunes, for the record."""
    version = imported_optuna().__version__
    return (
        f"Optuna {version}, SuccessiveHalvingPruner(min_resource={MIN_RESOURCE}, reduction_factor={REDUCTION_FACTOR})"
    )
