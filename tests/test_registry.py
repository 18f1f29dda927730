"""Registries are open: what is registered at run time is found like what semtune brings along."""

from __future__ import annotations

import math

import pytest

from semtune.errors import OptionError, UnknownNameError
from semtune.registry import Entry, Registry


def registry() -> Registry:
    return Registry("thing", {"root": Entry("math:sqrt", "a square root")})


def test_objects_and_locations_can_be_registered() -> None:
    things, thing = registry(), object()
    things.register("mine", thing, "an object")
    things.register("cosine", "math:cos")
    assert list(things) == ["root", "mine", "cosine"]
    assert things.get("mine") is thing and things.summary("mine") == "an object"
    assert things.get("cosine") is math.cos and things.get("root") is math.sqrt


def test_a_name_can_be_replaced_and_forgotten() -> None:
    things = registry()
    with pytest.raises(OptionError, match="root"):
        things.register("root", 5)
    things.register("root", 5, replace=True)
    assert things.get("root") == 5
    things.register("root", "math:cbrt", replace=True)
    assert things.get("root") is math.cbrt
    things.unregister("root")
    assert "root" not in things
    with pytest.raises(UnknownNameError):
        things.unregister("root")
    with pytest.raises(UnknownNameError):
        things.get("root")
