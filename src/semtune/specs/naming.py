"""Messages about values of a file name the file and the key, where those of the command line name the flag."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from semtune.errors import OptionError, UnknownNameError

RUN_OPTIONS = "the run's options"
"""What messages call the values of a whole run."""


class BoundsError(OptionError):
    """A number outside the bounds of its option. The message names the option's flag, or where the number stands."""

    def __init__(self, subject: str, reason: str, *, key: str, where: str, in_file: str | None = None) -> None:
        """
        Args:
            subject: what the message is about, such as "--rank".
            reason: such as "must be at least 1, not 0."
            key: the option's name in a file.
            where: names the record that has the number.
            in_file: the reason for a file's key, where its unit is another one than the flag's.
        """
        super().__init__(f"{subject} {reason}")
        self.key, self._where, self._reason = key, where, in_file or reason
        self.by_flag = str(self)
        """The message about a value of the command line."""

    def of(self, file: str) -> BoundsError:
        """The same error about a value of `file`."""
        place = file if self._where == RUN_OPTIONS else f"{file}, {self._where}"
        subject = f'{self._where if file in self._where else place}: "{self.key}"'
        error = BoundsError(subject, self._reason, key=self.key, where=self._where)
        error.by_flag = f"{file}: {self.by_flag}"
        return error


@contextlib.contextmanager
def naming_flags(given: Collection[str]) -> Iterator[None]:
    """Names values of the command line by their flags, within `naming`; `given`: the names of their options."""
    try:
        yield
    except BoundsError as error:
        if error.key not in given:
            raise
        raise OptionError(error.by_flag) from error


@contextlib.contextmanager
def naming(file: str) -> Iterator[None]:
    """Puts the name of a file, unless it is "", before messages about options and names that lack it."""
    try:
        yield
    except BoundsError as error:
        if not file or file in str(error):
            raise
        raise error.of(file) from error
    except (OptionError, UnknownNameError) as error:
        if not file or file in str(error):
            raise
        raise type(error)(f"{file}: {error}") from error
