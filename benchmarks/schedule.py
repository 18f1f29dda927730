"""Who runs in which round, and in what order. Pure; `peers.py` does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.ratios import Run, keep_fastest, median_step_speed

ROUNDS, QUICK_ROUNDS = 5, 2
KEPT_PEERS, KEPT_SHARE = 2, 0.9
"""After the first round each class of peers keeps so many, none slower than this share of its fastest."""
SCORED_TEXTS = 16
"""Of label scoring, in each round; all labels of each."""
IDENTITY_TEXTS = 40
"""Whose fp32 answers are compared."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One program with its settings."""

    key: str
    program: str
    variant: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    peers: str | None = None
    """The class of peers that is screened after the first round; None: runs in every round."""
    dtype: str | None = None
    """"bf16" or "fp32" where the contestant has that dtype and no other; None: it chooses, as a user's run does."""


def _ours(variant: str, key: str | None = None, **settings: Any) -> Contestant:
    return Contestant(key or f"semtune {variant}", "ours", variant, settings)


def _peft(variant: str, peers: str, dtype: str = "bf16") -> Contestant:
    return Contestant(f"peft {variant}", "peft_trainer", variant, peers=peers, dtype=dtype)


def _trl(variant: str, peers: str, dtype: str = "bf16") -> Contestant:
    return Contestant(f"trl {variant}", "trl_sft", variant, peers=peers, dtype=dtype)


CONTESTANTS: tuple[Contestant, ...] = (
    _ours("lora"),
    _peft("lora-bf16", "lora"),
    _trl("lora-pure", "lora"),
    _ours("qlora"),
    _peft("qlora", "qlora"),
    _ours("dora"),
    _peft("lora-grouped", "lora tuned"),
    _peft("lora-flat", "lora tuned"),
    _ours("full"),
    _peft("full-bf16", "full"),
    _trl("lora-tuned", "lora tuned"),
    _ours("qlora-cached"),
    _ours("lora", "semtune lora, batch 16", batch_size=16),
    Contestant("semtune predict", "predict", "ours"),
    Contestant("transformers generate", "predict", "transformers"),
    Contestant("semtune label scoring", "label_scoring", "ours", {"texts": SCORED_TEXTS}),
    Contestant("label by label", "label_scoring", "one-by-one", {"texts": SCORED_TEXTS}),
    Contestant("semtune start-up", "startup", "ours"),
    _trl("lora", "lora"),
    _trl("lora-tuned-pure", "lora tuned"),
    _peft("full-fp32", "full", "fp32"),
    _peft("qlora-prepared", "qlora"),
    _peft("lora-fp32", "lora", "fp32"),
    _peft("dora-bf16", "dora"),
    _peft("lora-grouped-fp32", "lora tuned", "fp32"),
    _peft("qlora-fp32", "qlora", "fp32"),
    _trl("lora-fp32", "lora", "fp32"),
    _peft("lora-flat-fp32", "lora tuned", "fp32"),
    _trl("lora-tuned-fp32", "lora tuned", "fp32"),
    _peft("dora-fp32", "dora", "fp32"),
)
"""Ours and their peers near each other. The order starts elsewhere in each round."""

ONCE: tuple[Contestant, ...] = (
    Contestant("semtune lora, 1B", "shape_step", "lora", {"model": "shape:llama-3.2-1b"}),
    Contestant("semtune qlora, 1B", "shape_step", "qlora", {"model": "shape:llama-3.2-1b"}),
    Contestant("semtune predict, fp32", "predict", "ours", {"dtype": "fp32", "texts": IDENTITY_TEXTS}),
    Contestant("transformers generate, fp32", "predict", "transformers", {"dtype": "fp32", "texts": IDENTITY_TEXTS}),
    Contestant("semtune label scoring, fp32", "label_scoring", "ours", {"dtype": "fp32", "texts": 4}),
    Contestant("label by label, fp32", "label_scoring", "one-by-one", {"dtype": "fp32", "texts": 4}),
    Contestant("semtune growth", "growth", "lora"),
)
"""Memory, sameness of answers, growth: one run each, after the first round."""


def sensible(contestants: Sequence[Contestant], *, native_bf16: bool) -> list[Contestant]:
    """Those whose dtype is sensible on this machine: without bf16 instructions, fp32 alone.

    There a bf16 product is emulated, many times slower than fp32's, and no peer in bf16 can be the fastest.
    """
    if native_bf16:
        return list(contestants)
    answers = {"predict", "label_scoring"}
    kept = [c for c in contestants if c.dtype != "bf16"]
    return [replace(c, settings={"dtype": "fp32", **c.settings}) if c.program in answers else c for c in kept]


def peer_classes(contestants: Sequence[Contestant] = CONTESTANTS) -> dict[str, list[str]]:
    """Keys of the peers by class."""
    classes: dict[str, list[str]] = {}
    for contestant in contestants:
        if contestant.peers is not None:
            classes.setdefault(contestant.peers, []).append(contestant.key)
    return classes


def screen(runs: Sequence[Run], classes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Which peers of each class go on, from the first round. "dora" only fills a row of the table: none goes on."""
    counts = {name: 0 if name == "dora" else KEPT_PEERS for name in classes}
    return {
        name: keep_fastest(runs, peers, median_step_speed, count=counts[name], share=KEPT_SHARE)
        for name, peers in classes.items()
    }


def order(contestants: Sequence[Contestant], round_: int, rounds: int) -> list[Contestant]:
    """`contestants` in the order of a round: each round starts at another place of the circle."""
    start = round_ * len(contestants) // max(rounds, 1) % max(len(contestants), 1)
    return [*contestants[start:], *contestants[:start]]


def going_on(
    contestants: Sequence[Contestant], kept: Mapping[str, Sequence[str]], runs: Sequence[Run]
) -> list[Contestant]:
    """Who runs in the next round: the peers that were kept and all that are no peers, less those that failed twice."""
    errors = Counter(run.contestant for run in runs if "error" in run.result)
    ended = {run.contestant for run in runs if "error" not in run.result}
    hopeless = {key for key, count in errors.items() if count > 1 and key not in ended}
    wanted = [c for c in contestants if c.peers is None or c.key in kept.get(c.peers, ())]
    return [c for c in wanted if c.key not in hopeless]
