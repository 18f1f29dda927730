"""The figures of `methods.py`, formed of runs by `ratios`. Pure; README.md beside this file defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import ratios
from benchmarks.methods_schedule import ABSENT, COMPARISONS, FUSED, PROBE, PROBE_REFERENCE
from benchmarks.ratios import Figure, Run, run_seconds, share_of_training_state, step_peak_bytes, tokens_per_second
from benchmarks.targets import Target


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Speed of every comparison, then memory against the same peers, then what has no peer."""
    speeds, memories = [], []
    for pair in COMPARISONS:
        peers = pair.peer_contestants
        speed = ratios.lowest_ratio(f"train_{pair.key}_ratio", runs, pair.contestant, peers, tokens_per_second)
        speeds.append(speed)
        against = speed.against or peers[0]
        memories.append(ratios.ratio(f"memory_{pair.key}_ratio", runs, pair.contestant, against, step_peak_bytes))
    return [
        *speeds,
        *memories,
        ratios.single("full_fused_over_state", runs, FUSED, share_of_training_state),
        # Seconds: the reference's stand above the line, so that the figure says how many times faster the probe is.
        ratios.ratio("linear_probe_speedup", runs, PROBE_REFERENCE, PROBE, run_seconds),
    ]


def summary(
    found: Sequence[Figure],
    targets: Mapping[str, Target],
    failures: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON object: every figure by its key (null where it could not be formed), then what stands behind them."""
    return {
        **{figure.key: figure.value for figure in found},
        "verdicts": {f.key: targets[f.key].verdict(f.value) for f in found if f.key in targets},
        "targets": {key: str(target) for key, target in targets.items()},
        "behind": {f.key: f.behind() for f in found},
        "peers": {pair.method: {"peers": list(pair.peer_contestants), "note": pair.note} for pair in COMPARISONS},
        "not_compared": dict(ABSENT),
        "failures": list(failures),
        **about,
    }
