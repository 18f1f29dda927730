"""The plan of a run: its failure is logged and printed nowhere; options that cannot be are said at once."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from semtune.contracts import TaskContext
from semtune.errors import OptionError
from semtune.records import RunSpec, TargetSpace
from semtune.runs.guard import Guard
from semtune.runs.run_planners import TunedRunPlanner


def guard() -> Guard:
    return Guard(RunSpec("practice"), TaskContext("it", TargetSpace("label_set", ("a",)), ()), [], [], None)


def failing(error: Exception) -> Any:
    def plan_run(*_: object) -> None:
        raise error

    return plan_run


def test_a_failed_plan_is_logged_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("semtune.runs.run_planners.plan_run", failing(RuntimeError("the planner's own fault")))
    planned = guard()
    with caplog.at_level(logging.INFO):
        planned.make_plan(0)
    assert planned.plan is None
    assert "the planner's own fault" in caplog.text


def test_and_not_printed() -> None:
    """In a process of its own: pytest listens to logs itself."""
    program = (
        "from tests.runs import test_guard as t; import semtune.runs.run_planners as g;"
        "g.plan_run = t.failing(RuntimeError('own fault')); t.guard().make_plan(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_an_option_that_cannot_be_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semtune.runs.run_planners.plan_run", failing(OptionError("The rank must be at most 8")))
    with pytest.raises(OptionError, match="rank"):
        guard().make_plan(0)


def test_an_approach_from_outside_is_planned_as_tuning() -> None:
    context = TaskContext("it", TargetSpace("label_set", ("a",)), ())
    planner = Guard(RunSpec("practice", approach="from-outside"), context, [], [], None)._planner
    assert isinstance(planner, TunedRunPlanner) and planner.plans_finished
