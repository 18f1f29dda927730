"""Who runs in `methods.py`, what is compared with what, and the targets. `methods_figures.py` forms the figures."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.schedule import Contestant
from benchmarks.targets import Target

ROUNDS = 3
SAME_STEPS = {"warmup_steps": 0, "timed_steps": 3}
"""Two steps of the reference batch warm up; 3 batches are timed in 2 passes."""
RUN_STEPS = {"timed_steps": 6}
"""Of a run's epochs: batches that are timed, in 2 passes, where one does not run all epochs."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One method of ours and the peers that do the same, or the nearest thing to it."""

    method: str
    peers: tuple[str, ...]
    """Variants of `contestants/peft_methods.py`."""
    targeted: bool = True
    """Whether the project's targets of speed and memory hold for it."""
    note: str = ""
    """Where the peer is not the method itself."""

    @property
    def key(self) -> str:
        """The method in keys of the JSON object."""
        return self.method.replace("-", "_")

    @property
    def contestant(self) -> str:
        return ours(self.method)

    @property
    def peer_contestants(self) -> tuple[str, ...]:
        return tuple(peer(name) for name in self.peers)


def ours(variant: str) -> str:
    """The key of semtune's contestant."""
    return f"semtune {variant}"


def peer(variant: str) -> str:
    """The key of a peer."""
    return f"transformers {variant}" if variant == "biases" else f"peft {variant}"


COMPARISONS: tuple[Comparison, ...] = (
    Comparison("lora", ("lora",), targeted=False, note="the reference: same recipe on both sides"),
    Comparison("ia3", ("ia3",)),
    Comparison("prefix", ("prefix",)),
    Comparison(
        "houlsby",
        ("lora-attention-mlp",),
        note="PEFT has no bottleneck adapters; low-rank adapters of the same size on o_proj and down_proj",
    ),
    Comparison(
        "pfeiffer",
        ("lora-mlp",),
        note="PEFT has no bottleneck adapters; low-rank adapters of the same size on down_proj",
    ),
    Comparison("qdora", ("qdora",), note="PEFT's use_dora over bitsandbytes' NF4 with double quantisation"),
    Comparison(
        "bitfit",
        ("beft", "biases"),
        note="PEFT's BEFT on all linear layers, or transformers' model with biases added, of which nothing else is "
        "trained; the faster one counts",
    ),
    Comparison("ln-tuning", ("ln-tuning",), targeted=False),
)
ABSENT = {
    "qa-lora": "PEFT has it only over a base that a GPTQ toolchain has quantised",
    "mam": "PEFT has no method of a prefix together with parallel adapters",
    "last-layers": "a plain loop over some of the weights, which PEFT has no method for",
}
"""Methods that are not compared, with the reason."""

FUSED, PROBE, PROBE_REFERENCE = ours("full-fused"), "semtune linear-probe run", "semtune lora run"


def contestants(*, native_bf16: bool) -> list[Contestant]:
    """Everyone, ours and its peers near each other; peers in the dtype that the machine multiplies."""
    dtype = "bf16" if native_bf16 else "fp32"
    found: list[Contestant] = []
    for pair in COMPARISONS:
        screened = pair.method if len(pair.peers) > 1 else None
        found.append(Contestant(pair.contestant, "method_step", pair.method, SAME_STEPS))
        found += [
            Contestant(peer(name), "peft_methods", name, {**SAME_STEPS, "dtype": dtype}, screened, dtype)
            for name in pair.peers
        ]
    found.append(Contestant(FUSED, "method_step", "full-fused", SAME_STEPS))
    found.append(Contestant(PROBE, "epochs_run", "linear-probe", RUN_STEPS))
    found.append(Contestant(PROBE_REFERENCE, "epochs_run", "lora", RUN_STEPS))
    return found


SPEED_NATIVE_BF16, SPEED_ELSEWHERE, MEMORY = 2.5, 2.0, 0.7
OTHER_TARGETS = {
    "full_fused_over_state": Target(1.1, at_least=False),
    "linear_probe_speedup": Target(20.0, at_least=True),
}


def targets(*, native_bf16: bool) -> dict[str, Target]:
    """By figure: tokens a second over the peer's, memory of a step over the peer's, and what has no peer."""
    speed = Target(SPEED_NATIVE_BF16 if native_bf16 else SPEED_ELSEWHERE, at_least=True)
    memory = Target(MEMORY, at_least=False)
    compared = [pair for pair in COMPARISONS if pair.targeted]
    return (
        {f"train_{pair.key}_ratio": speed for pair in compared}
        | {f"memory_{pair.key}_ratio": memory for pair in compared}
        | OTHER_TARGETS
    )
