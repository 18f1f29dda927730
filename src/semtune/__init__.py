"""semtune: which way of fine-tuning fits your computer, how fast is it, and how good is the result?

From Python: `semtune.tune`, `semtune.load`, `semtune.plan`, `semtune.study`, and `semtune.sklearn.TunedTextClassifier`
(docs/python.md). From a shell: `semtune --help`. Importing the package imports next to nothing: the calls' own modules
come with the first use of a name, and torch, pandas and scikit-learn with the first call that needs them. The command
thus handles Ctrl-C before anything that takes time (`semtune.cli`).
"""

from __future__ import annotations

import importlib
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable
    from typing import Any

    from semtune.api import Run, Study, load, plan, study, tune  # type: ignore[no-redef] # packages of these names
    from semtune.errors import SemtuneError

__version__ = "0.1.0"
__all__ = ["Run", "SemtuneError", "Study", "load", "plan", "study", "tune"]
_PLACES = {"SemtuneError": "semtune.errors"} | dict.fromkeys(("Run", "Study", "load", "tune"), "semtune.api")
"""Name -> the module that it is imported from on first use."""

_MODULES = ("api", "errors", "records", "registry")
"""Modules that are attributes without an import of their own."""


def __getattr__(name: str) -> Any:
    """A name of the package, imported now. Raises AttributeError."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


class _CallablePackage(ModuleType):
    """A package that is called like the function of its name in `semtune.api`.

    `semtune.plan` and `semtune.study` are packages as well as calls. Importing a submodule binds its package's name
    here, which would replace a function of that name after the first call; a package that can be called has no such
    moment.
    """

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._function(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        import inspect

        return inspect.signature(self._function)

    @property
    def _function(self) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(importlib.import_module("semtune.api"), self.__name__.rpartition(".")[2])
        return function


for _package in ("plan", "study"):
    importlib.import_module(f"{__name__}.{_package}").__class__ = _CallablePackage
