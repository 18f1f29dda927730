"""Every error that a user can meet. Each message is one sentence (or two) that says what is wrong and what to do.

The command line prints the message without a traceback and exits with status 2; anything that is not a `SemtuneError`
is a defect of semtune and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class SemtuneError(Exception):
    """Base of all errors that are the input's, the machine's or the network's fault, not semtune's."""


class UnknownNameError(SemtuneError):
    """A name that is in no registry, or a key that is in no schema."""


class OptionError(SemtuneError):
    """An option with an impossible value, or two options that contradict each other."""


class PathError(OptionError):
    """A path that no file or folder can have, or none whose name can be written down."""


class MethodRefusesError(OptionError):
    """Options, possible by themselves, that this method cannot combine; another method may."""


class DataError(SemtuneError):
    """A data file that is missing, broken, empty, or does not hold what the task needs."""


class PromptTooLongError(DataError):
    """A prompt that exceeds its limit of tokens even without the example's text."""


class ModelError(SemtuneError):
    """A model that cannot be found, read or trusted."""


class TermsNotAcceptedError(ModelError):
    """A model under terms that the user has not accepted yet."""

    def __init__(self, message: str, terms: Any) -> None:
        """`terms`: a `models.terms.Terms`."""
        super().__init__(message)
        self.terms = terms


class TargetError(SemtuneError):
    """A target pattern that matches no module of the model, or modules that the method cannot change."""


class MergeRefusedError(SemtuneError):
    """A method that cannot be merged into the base model as it is stored, with the reason."""


class OutputError(SemtuneError):
    """A folder or file that cannot be written, or already holds something that must not be lost."""


class OutOfMemoryError(SemtuneError):
    """The run needed more memory than this machine has."""


class DoesNotFitError(SemtuneError):
    """A run that needs more memory than is free, by its plan."""


class PluginError(SemtuneError):
    """A plugin that cannot be imported."""


class EndpointError(SemtuneError):
    """A server that cannot be reached, refuses a request, or answers otherwise than its protocol says."""


class DivergedError(SemtuneError):
    """A loss, a gradient, a probability or another output of the model became NaN or infinite."""


def first_line(error: object) -> str:
    """The first line of what an exception (or another program) says; an exception's class name where it says nothing.

    >>> first_line(ValueError("no such layer\\nTraceback follows"))
    'no such layer'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def with_stop(sentence: str) -> str:
    """`sentence` with a full stop, if nothing ends it.

    >>> with_stop("one text is blank"), with_stop("is --encoding right?")
    ('one text is blank.', 'is --encoding right?')
    """
    return sentence if sentence.endswith((".", "?", "!")) else sentence + "."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known name, then all of them.

    >>> did_you_mean("lorra", ["full", "lora"])
    'did you mean "lora"? Known: full, lora'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}Known: {', '.join(names)}"
