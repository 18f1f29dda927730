"""Trust in a model's own code is given with the call that runs it, never read from a file.

A run folder, a spec or a study file comes from anywhere. So `--trust-remote-code` (from Python:
`trust_remote_code=True`) counts for the command it stands on, and what a file says about it is left out or
refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from semtune.errors import OptionError

TRUST = "trust_remote_code"
"""The field of RunSpec and the key of earlier files."""


def without_trust(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` of a file, at every depth, without the key; it was written by earlier versions, and by other people."""
    return {
        key: without_trust(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if key != TRUST
    }


def refuse_trust(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values` of the study file `where` without the key. Raises OptionError where the file claims trust."""
    if any(value not in (False, None) for value in _claims(values)):
        raise OptionError(
            f'{where} sets "{TRUST}", but trust is not read from files; take that line out, read the model\'s code, '
            "then allow it with --trust-remote-code on the command line."
        )
    return without_trust(values)


def _claims(values: Mapping[str, Any]) -> Iterator[Any]:
    """Every value of the key, at any depth."""
    for key, value in values.items():
        if key == TRUST:
            yield value
        elif isinstance(value, Mapping):
            yield from _claims(value)
