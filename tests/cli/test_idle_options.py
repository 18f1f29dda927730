"""An option that has no effect on the chosen approach is refused, not taken in silence."""

from __future__ import annotations

import pytest

from .conftest import Semtune

BASELINE = ["--approach", "baseline", "--baseline", "top-1"]
PROMPTED = ["--approach", "prompted", "--strategy", "zero-shot"]


@pytest.mark.parametrize(
    ("arguments", "idle"),
    [
        ([*BASELINE, "--epochs", "7", "--model", "default"], "--model, --epochs have"),
        ([*BASELINE, "--offload-gb", "1"], "--offload-gb has"),
        ([*PROMPTED, "--max-length", "16"], "--max-length has"),
        ([*PROMPTED, "--readout", "generate"], "--readout has"),
        ([*PROMPTED, "--method", "full"], "--method has"),
    ],
)
def test_an_idle_option_is_refused(semtune: Semtune, arguments: list[str], idle: str) -> None:
    found = semtune("tune", "--task", "practice", "--out", "run", *arguments, check=2)
    approach = arguments[1]
    assert f"{idle} no effect on the approach {approach}; leave it out." in found.stderr


def test_options_of_a_machine_do_no_harm(semtune: Semtune) -> None:
    semtune("tune", "--task", "practice", "--out", "run", *BASELINE, "--threads", "1", "--device", "cpu")
