"""Devices by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semtune.errors import OptionError
from semtune.plan.devices import CARDS, GIB, Device, parse_device

HERE = Device("this machine", "cpu", 20 * GIB)


def test_this_machine() -> None:
    assert parse_device("auto", HERE) is HERE
    assert parse_device("cpu", HERE) is HERE


@given(st.integers(1, 512), st.sampled_from(["GB", "GiB", "gb", "G"]), st.sampled_from(["", " "]))
def test_a_size_is_in_gib_as_cards_are_sold(number: int, unit: str, space: str) -> None:
    device = parse_device(f"{number}{space}{unit}", HERE)
    assert (device.kind, device.memory_bytes, device.spill_bytes) == ("cuda", number * GIB, 0)
    assert any("RTX 3060" in assumption for assumption in device.assumptions)


def test_memory_to_spill_into() -> None:
    device = parse_device("12GB+32GB", HERE)
    assert (device.memory_bytes, device.spill_bytes) == (12 * GIB, 32 * GIB)
    assert parse_device("rtx-4090+64GB", HERE).spill_bytes == 64 * GIB


@pytest.mark.parametrize("name", list(CARDS))
def test_cards_state_what_is_assumed(name: str) -> None:
    device = parse_device(name.upper(), HERE)
    assert device.memory_bytes == CARDS[name].memory_bytes
    assert any("not measured" in assumption for assumption in device.assumptions)


@pytest.mark.parametrize("text", ["13XB", "", "GB", "-1GB", "12", "rtx-9999", "12GB+", "12GB+many", "cuda"])
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(OptionError):
        parse_device(text, HERE)


def test_a_slip_of_the_pen() -> None:
    with pytest.raises(OptionError, match='did you mean "rtx-3090"'):
        parse_device("rtx-309", HERE)
    with pytest.raises(OptionError, match="too small"):
        parse_device("0.1GB", HERE)
