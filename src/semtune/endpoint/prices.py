"""Prices of tokens, from a YAML file that the user writes: prices change too often to be shipped.

currency: USD
models:
  some-model: {in: 0.15, out: 0.60}    # of a million tokens
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semtune.errors import OptionError, did_you_mean
from semtune.records import Usage
from semtune.runtime.files import expanded
from semtune.specs import read_yaml
from semtune.specs.kinds import check_kinds, shown
from semtune.specs.record import check_keys

MILLION = 1e6
_EXAMPLE = "models: {NAME: {in: 0.15, out: 0.60}}"


@dataclass(frozen=True)
class _PriceFile:
    """The content of a file of prices."""

    models: Mapping[str, Any]
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in `currency`."""

    prompt: float
    completion: float
    currency: str

    def of(self, usage: Usage) -> Usage:
        """`usage` with its cost."""
        cost = (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / MILLION
        return dataclasses.replace(usage, cost=cost, currency=self.currency)


def read_price(file: str, model: str) -> Price:
    """The price of `model` in a file of prices. Raises OptionError, UnknownNameError."""
    values = read_yaml(expanded(file), _EXAMPLE)
    check_keys(values, [field.name for field in dataclasses.fields(_PriceFile)], file)
    check_kinds(_PriceFile, values, file)
    models = values.get("models")
    if not isinstance(models, Mapping):
        raise OptionError(f"{file} has no prices; write them as {_EXAMPLE}.")
    if model not in models and model in map(str, models):
        raise OptionError(f'{file} has the model {model} as a number; put its name in quotes: "{model}".')
    if model not in models:
        raise OptionError(f'{file} has no price of the model "{model}"; {did_you_mean(model, map(str, models))}')
    price = models[model]
    example = f'{file}: the price of "{model}" must be that of a million tokens, such as {{in: 0.15, out: 0.60}}'
    if not isinstance(price, Mapping) or set(price) != {"in", "out"}:
        other = [str(key) for key in price if key not in ("in", "out")] if isinstance(price, Mapping) else []
        raise OptionError(f"{example}; leave {other[0]} out." if other else f"{example}.")
    for key, value in price.items():
        if not _is_price(value):
            raise OptionError(f"{example}; {key} is {shown(value)}, and must be a number of at least 0.")
    return Price(float(price["in"]), float(price["out"]), values.get("currency") or _PriceFile.currency)


def _is_price(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0
