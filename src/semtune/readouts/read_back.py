"""Whether a run's own tokenizer gives labels back as they were written; checked once, before weights are loaded.

A tokenizer may normalise text (lower case, Unicode's normal form, merged white space) or lack a character. A label that
it changes can be learnt and generated, but its completion decodes to another text, which no parser reads as the label.
"""

from __future__ import annotations

from collections.abc import Iterable

from semtune.contracts import Prompt, Tokenizer
from semtune.errors import OptionError
from semtune.readouts.batching import label_completions
from semtune.records import TargetSpace
from semtune.records.targets import LABEL_KINDS
from semtune.tasks.label_names import difference, shown

LABELS_SHOWN = 3
"""Number of labels that a message names."""


def check_reads_back(readout: str, tokenizer: Tokenizer, prompt: Prompt, space: TargetSpace) -> None:
    """Check that the completion of each label, of "none" and of all labels together parses to what it was made from.

    Nothing is checked where targets are no labels, or where the tokenizer is borrowed and its text means nothing.

    Raises:
        OptionError: one does not; the message names the labels and what they come back as.
    """
    if space.kind not in LABEL_KINDS or tokenizer.folded:
        return
    singly: list[tuple[str, ...]] = [(label,) for label in space.labels]
    lost = _lost([*singly, *([()] if space.kind == "label_set" else [])], tokenizer, prompt, space)
    if not lost and space.kind == "label_set":
        lost = _lost([space.labels], tokenizer, prompt, space)
    if lost:
        more = f", and {len(lost) - LABELS_SHOWN} more" if len(lost) > LABELS_SHOWN else ""
        raise OptionError(
            f"The readout {readout} reads labels from text, and this model's tokenizer changes them: "
            f"{'; '.join(lost[:LABELS_SHOWN])}{more}. Every such answer would fail to parse; rename the labels in the "
            "data to what comes back, or choose --readout head or loglikelihood."
        )


def check_distinct(readout: str, tokenizer: Tokenizer, prompt: Prompt, space: TargetSpace) -> None:
    """Check that no two answers of one label (or none) have the same tokens, which would score the same.

    Raises:
        OptionError: two have; the message names them.
    """
    if space.kind not in LABEL_KINDS or tokenizer.folded:
        return
    answers = [(label,) for label in space.labels] + ([] if space.kind == "single_label" else [()])
    known: dict[tuple[int, ...], tuple[str, ...]] = {}
    for labels, completion in zip(answers, label_completions(tokenizer, prompt, space.kind, answers), strict=True):
        other = known.setdefault(tuple(completion), labels)
        if other != labels:
            both = [_named(found, [*other, *labels]) for found in (other, labels)]
            raise OptionError(
                f"This model's tokenizer gives {both[0]} and {both[1]} the same tokens, so the readout {readout} "
                "cannot tell them apart; rename one of them, or choose --readout head."
            )


def _lost(answers: Iterable[tuple[str, ...]], tokenizer: Tokenizer, prompt: Prompt, space: TargetSpace) -> list[str]:
    """What was written and what came back, for each of `answers` that does not parse to itself."""
    sentences = []
    for labels in answers:
        (completion,) = label_completions(tokenizer, prompt, space.kind, [labels])
        text = tokenizer.decode(completion[:-1])  # without end-of-sequence
        parsed = prompt.parse(text)
        if not parsed.ok or set(parsed.labels) != set(labels):
            sentences.append(_comparison(labels, text.strip()))
    return sentences


def _comparison(labels: tuple[str, ...], text: str) -> str:
    if len(labels) != 1:
        what = "a list of several labels" if labels else "the words for no label"
        return f"{what} comes back as {shown(text)}" if labels else f"{what} come back as {shown(text)}"
    (label,) = labels
    kind = difference([label, text])
    why = "" if kind == "spelling" else f" (another {kind})"
    return f"{shown(label, [text])} comes back as {shown(text, [label])}{why}"


def _named(labels: tuple[str, ...], beside: list[str]) -> str:
    return f"the label {shown(labels[0], beside)}" if labels else "the words for no label"
