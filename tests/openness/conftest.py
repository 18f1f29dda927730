"""The command as a process, as in the tests of the command line."""

from ..cli.conftest import semtune

__all__ = ["semtune"]
