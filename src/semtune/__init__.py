"""semtune: which way of fine-tuning fits your computer, how fast is it, and how good is the result?

From Python: `semtune.tune`, `semtune.load`, `semtune.plan`, `semtune.study`, and `semtune.sklearn.TunedTextClassifier`
(docs/python.md). From a shell: `semtune --help`. Importing the package imports nothing heavy: torch, pandas and
scikit-learn are imported by the first call that needs them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from semtune.api import Run, Study, load, plan, study, tune
from semtune.errors import SemtuneError

__version__ = "0.1.0"
__all__ = ["Run", "SemtuneError", "Study", "load", "plan", "study", "tune"]


def _make_callable(name: str, function: Callable[..., Any]) -> None:
    """Let the package `semtune.<name>` be called like `function`.

    `semtune.plan` and `semtune.study` are packages as well as calls. Importing a submodule binds its package's name
    here, which would replace a function of that name after the first call; a package that can be called has no such
    moment.
    """
    package = importlib.import_module(f"{__name__}.{name}")
    package.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    package.__class__ = type("CallablePackage", (ModuleType,), {"__call__": staticmethod(function)})
    globals()[name] = package


_make_callable("plan", plan)
_make_callable("study", study)
