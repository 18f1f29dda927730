"""The bench's figures by their definitions (README.md beside this file), formed of runs by `ratios`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import ratios
from benchmarks.ratios import Figure, Run, field_of, seconds_per_token, tokens_per_second
from benchmarks.schedule import peer_classes
from benchmarks.targets import TARGETS

OURS = ("lora", "qlora", "qlora-cached", "dora", "full")
BATCH_16 = "semtune lora, batch 16"
PEFT_LORA = ("peft lora-bf16", "peft lora-fp32")
"""Whose fastest is the peer in memory."""


def figures(runs: Sequence[Run], kept: Mapping[str, Sequence[str]]) -> list[Figure]:
    """All figures: those of `TARGETS` in their order, then what has no target.

    Args:
        kept: the peers of each class that ran in all rounds (`schedule.screen`); where none is left the whole class is
            named, so that the reason can be resolved.
    """
    classes = {name: kept.get(name) or peers for name, peers in peer_classes().items()}

    def over_peers(key: str, ours: str, peers: str) -> Figure:
        return ratios.lowest_ratio(key, runs, f"semtune {ours}", classes[peers], tokens_per_second)

    def own(key: str, above: str, below: str, measure: ratios.Measure = tokens_per_second) -> Figure:
        return ratios.ratio(key, runs, f"semtune {above}", f"semtune {below}", measure)

    def own_mfu(name: str) -> Figure:
        return ratios.single(f"mfu_{name.replace('-', '_')}_batch_8", runs, f"semtune {name}", field_of("mfu"))

    found = [
        over_peers("train_lora_ratio", "lora", "lora"),
        over_peers("train_lora_ratio_tuned", "lora", "lora tuned"),
        over_peers("train_qlora_ratio", "qlora", "qlora"),
        over_peers("train_full_ratio", "full", "full"),
        own("qlora_over_lora", "qlora", "lora"),
        own("qlora_cached_over_lora", "qlora-cached", "lora"),
        own("dora_over_lora", "dora", "lora", seconds_per_token),
        ratios.single("mfu_lora", runs, BATCH_16, field_of("mfu")),
        ratios.ratio(
            "predict_ratio", runs, "semtune predict", "transformers generate", field_of("examples_per_second")
        ),
        ratios.ratio(
            "label_scoring_ratio", runs, "semtune label scoring", "label by label", field_of("texts_per_second")
        ),
        ratios.ratio("peak_memory_ratio", runs, "semtune lora", fastest(runs, PEFT_LORA), ratios.step_peak_bytes),
        own("qlora_memory_ratio_1b", "qlora, 1B", "lora, 1B", ratios.whole_peak_bytes),
        ratios.single("startup_seconds", runs, "semtune start-up", field_of("seconds")),
        over_peers("train_qlora_cached_ratio", "qlora-cached", "qlora"),
        ratios.lowest_ratio("train_dora_ratio", runs, "semtune dora", peer_classes()["dora"], tokens_per_second),
        *(own_mfu(name) for name in OURS),
    ]
    rank = {key: place for place, key in enumerate(TARGETS)}
    return sorted(found, key=lambda figure: rank.get(figure.key, len(rank)))


def fastest(runs: Sequence[Run], peers: Sequence[str]) -> str:
    """The peer with the highest median of tokens a second; the first one where none has a value."""
    speeds = {peer: ratios.values(runs, peer, tokens_per_second).values() for peer in peers}
    return max(peers, key=lambda peer: statistics.median(speeds[peer]) if speeds[peer] else 0.0)


def sameness(runs: Sequence[Run]) -> dict[str, Any]:
    """Whether ours and the peer say the same: answers in fp32 and bf16, label scores in both. None: not compared."""
    pairs = {
        "answers_fp32": ("semtune predict, fp32", "transformers generate, fp32", _answers),
        "answers_bf16": ("semtune predict", "transformers generate", _answers),
        "label_scores_fp32": ("semtune label scoring, fp32", "label by label, fp32", _scores),
        "label_scores_bf16": ("semtune label scoring", "label by label", _scores),
    }
    found: dict[str, Any] = {}
    for name, (ours, peer, compare) in pairs.items():
        first, second = (_first_result(runs, key) for key in (ours, peer))
        try:
            found[name] = compare(first, second) if first and second else None
        except (KeyError, ValueError):  # not the same texts: nothing to compare
            found[name] = None
    return found


def growth(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Seconds and bytes of a step against its real tokens, each with the line through them."""
    result = _first_result(runs, "semtune growth")
    if result is None:
        return None
    rows = result["sizes"]
    shown = ("tokens", "texts", "seconds", "peak_bytes_above_runtime")
    tokens = [row["tokens"] for row in rows]
    seconds = ratios.line(tokens, [row["seconds"] for row in rows])
    peak = ratios.line(tokens, [row["peak_bytes_above_runtime"] for row in rows])
    return {
        "seconds": {
            "milliseconds_per_token": 1000 * seconds["slope"],
            "milliseconds_per_step": 1000 * seconds["intercept"],
            "largest_relative_deviation": seconds["largest_relative_deviation"],
        },
        "memory": {
            "bytes_per_token": peak["slope"],
            "bytes_at_zero_tokens": peak["intercept"],
            "largest_relative_deviation": peak["largest_relative_deviation"],
        },
        "sizes": [{key: row[key] for key in shown} for row in rows],
    }


def _answers(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> dict[str, int]:
    same = ratios.agreement(ours["answers"], peer["answers"])
    return {"texts": len(ours["answers"]), "identical": same}


def _scores(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> dict[str, Any]:
    first, second = ours["log_likelihoods"], peer["log_likelihoods"]
    best = [[max(range(len(row)), key=row.__getitem__) for row in table] for table in (first, second)]
    return {
        "texts": len(first),
        "largest_difference": ratios.largest_difference(first, second),
        "same_best_label": ratios.agreement(*best),
    }


def _first_result(runs: Sequence[Run], contestant: str) -> Mapping[str, Any] | None:
    """Of the first round in which the contestant did not fail."""
    return next((run.result for run in runs if run.contestant == contestant and "error" not in run.result), None)
