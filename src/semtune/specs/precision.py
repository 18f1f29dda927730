"""The names of precisions: dtypes, "auto", and every registered quantisation."""

from __future__ import annotations

from semtune.errors import OptionError, did_you_mean
from semtune.registry import QUANTIZATIONS

AUTO = "auto"
"""bf16 where the machine multiplies bf16 natively, else fp32."""
DTYPES = ("fp32", "bf16", "fp64")
_OLD_SPELLINGS = {"compute": AUTO}


def precisions() -> tuple[str, ...]:
    """Every precision by its present name, quantisations that were registered at run time included."""
    return (AUTO, *DTYPES, *QUANTIZATIONS)


def present_spelling(precision: str) -> str:
    """The present name of a precision in an old spelling; any other name as it is."""
    return _OLD_SPELLINGS.get(precision, precision)


def normalise_precision(precision: str) -> str:
    """The present name of a precision. Raises OptionError on an unknown one."""
    name = present_spelling(precision) if isinstance(precision, str) else None
    if name is None or name not in precisions():
        raise OptionError(f'There is no precision "{precision}"; {did_you_mean(str(precision), precisions())}.')
    return name
