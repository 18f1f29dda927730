"""semtune from Python: the commands' jobs as functions, with the same options and the same records."""

from semtune.api.functions import load, plan, study, tune
from semtune.api.run import Run
from semtune.api.study import Study

__all__ = ["Run", "Study", "load", "plan", "study", "tune"]
