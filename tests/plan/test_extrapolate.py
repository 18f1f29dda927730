"""Peaks of few layers stretched to many, against the same thing written out layer by layer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semtune.nn.operator_registry import OperatorCost
from semtune.plan.extrapolate import SHALLOW, match, peak_bytes, repeated
from semtune.plan.history import Section, without_repeated_chunks


def section(name: str, live: list[int], operations: list[str] | None = None) -> Section:
    return Section(name, operations=operations or ["op"] * len(live), live_bytes=live)


def names(layers: int, passing: list[int]) -> list[str]:
    return ["begin", *(["pass"] * len(passing) + ["layer done"]) * layers, "end"]


def backward(layers: int, activation: int, gradient: int, start: int, passing: list[int]) -> list[int]:
    """Live bytes of a backward: activations of each layer go, gradients come, and within a layer something passes."""
    live = [start + layers * activation]
    held = live[0]
    for _ in range(layers):
        live += [held + extra for extra in passing]
        held += gradient - activation
        live.append(held)
    return [*live, held]


sizes = st.integers(0, 10**9)


@given(st.integers(4, 80), sizes, sizes, sizes, st.lists(sizes, min_size=1, max_size=5))
def test_a_backward_peaks_where_it_would(
    layers: int, activation: int, gradient: int, start: int, passing: list[int]
) -> None:
    shallow, deep, full = (
        section("backward", backward(depth, activation, gradient, start, passing), names(depth, passing))
        for depth in (SHALLOW, SHALLOW + 1, layers)
    )
    assert peak_bytes(shallow, deep, layers - SHALLOW) == max(full.live_bytes)


def test_the_layer_between_counts_as_the_first_and_as_the_last_of_its_kind() -> None:
    shallow = section("x", [10, 20, 7], ["begin", "layer", "end"])
    deep = section("x", [10, 20, 30, 8], ["begin", "layer", "layer", "end"])
    assert repeated(shallow.operations, deep.operations) == (1, 2)
    assert peak_bytes(shallow, deep, 10) == 20 + 10 * 10


def test_a_first_layer_of_its_own_kind_is_not_taken_for_the_others() -> None:
    shallow = ["begin", "embed", "a", "b", "a", "c", "end"]
    deep = ["begin", "embed", "a", "b", "a", "b", "a", "c", "end"]
    first, last = repeated(shallow, deep)
    assert last - first == 2
    assert shallow[:last] + shallow[first:] == deep


def test_sections_that_differ_are_a_defect() -> None:
    with pytest.raises(ValueError, match="different sections"):
        match([section("forward", [1])], [section("backward", [1])])
    with pytest.raises(ValueError, match="did less"):
        repeated(["a", "b"], ["a"])


def test_several_passes_over_the_layers_meet_in_the_middle() -> None:
    assert repeated(["a", "b", "a", "c"], ["a", "a", "b", "a", "a", "c"]) == (2, 2)


@pytest.mark.parametrize("iterations", [2, 3, 4, 9])
def test_iterations_from_the_third_on_are_folded_into_the_second(iterations: int) -> None:
    """The first one starts from less; the last one may be smaller."""
    loop = Section("formula")
    loop.append("begin", 5, OperatorCost(moved_bytes=1))
    for i in range(iterations):
        last = i == iterations - 1 and iterations > 2
        for name, live in (("index", 10), ("take", 30), ("mul", 20)):
            loop.append(name, live - (5 if last else 0) - (3 if i == 0 else 0), OperatorCost(moved_bytes=7))
    loop.append("end", 5, OperatorCost())
    folded = without_repeated_chunks(loop)
    assert folded.operations == ["begin", *["index", "take", "mul"] * 2, "end"]
    assert folded.live_bytes == [5, 7, 27, 17, 10, 30, 20, 5]
    assert sum(folded.moved_bytes) == 1 + 21 * iterations
    assert len(folded.loop_flops) == len(folded.unpacked_bytes) == len(folded.product_flops) == len(folded.operations)
