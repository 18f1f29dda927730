"""Terms of models on the command line: `--accept-terms`, and a question where the command runs in a terminal."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from semtune.cli.options import say
from semtune.errors import TermsNotAcceptedError

_Accept = Annotated[
    bool,
    typer.Option(
        "--accept-terms",
        help="Accept the terms under which a model comes; accepted terms are remembered in the cache folder.",
    ),
]


def with_terms(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command`, which may fetch a model, with the option `--accept-terms`."""

    @functools.wraps(command)
    def run(*args: Any, accept_terms: bool, **kwargs: Any) -> Any:
        if accept_terms:
            accept_all()
        return command(*args, **kwargs)

    signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
    known = [p.replace(annotation=hints.get(p.name, p.annotation)) for p in signature.parameters.values()]
    own = inspect.Parameter("accept_terms", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Accept)
    run.__signature__ = signature.replace(parameters=[*known, own])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*known, own]}
    return run


def accept_all() -> None:
    """Accept the terms of every model that this command, or a process that it starts, uses."""
    from semtune.models.terms import ACCEPT_VARIABLE

    os.environ[ACCEPT_VARIABLE] = "1"


def asked(app: Any) -> int:
    """The exit status of `app`, run once more where it met terms that the user then accepts in the terminal.

    Raises TermsNotAcceptedError where there is no terminal, or the user does not accept.
    """
    try:
        return app(standalone_mode=False) or 0
    except TermsNotAcceptedError as error:
        if not _agreed(error.terms):
            raise
        return app(standalone_mode=False) or 0


def _agreed(terms: Any) -> bool:
    """Show `terms`, a `models.terms.Terms`, and ask; False: no, or there is nobody to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    say(terms.text())
    say(f"\nThese are the {terms.title} ({terms.url}). Do you accept them? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        return False
    terms.accept()
    return True
