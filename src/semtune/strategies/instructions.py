"""Wordings of the instruction that a prompt begins with, for each kind of target; the labels' lines follow it.

The wording is an option of every strategy that writes a prompt, so that a study can compare wordings. Each is a mapping
from the kind of target to the sentence.
"""

from __future__ import annotations

from collections.abc import Mapping

from semtune.errors import OptionError, UnknownNameError, did_you_mean
from semtune.records import TargetKind
from semtune.registry import INSTRUCTIONS

Wording = Mapping[TargetKind, str]

QUESTION: Wording = {
    "label_set": "Which of these labels apply to the text below? Name those that apply, in this order.",
    "single_label": "Which one of these labels applies to the text below?",
}
COMMAND: Wording = {
    "label_set": "Label the text below with those of these labels that apply, in this order.",
    "single_label": "Label the text below with the one of these labels that applies.",
}
ANNOTATOR: Wording = {
    "label_set": "You annotate texts with care. Read the text below, decide about each of these labels whether it "
    "applies, and name those that apply, in this order.",
    "single_label": "You annotate texts with care. Read the text below, weigh each of these labels, and name the one "
    "that applies.",
}
HEADING: Wording = {"label_set": "Labels to choose from:", "single_label": "Labels, of which one is to be chosen:"}


def check_instruction(instruction: str) -> None:
    """Raises UnknownNameError for what is neither a registered wording nor a text of several words."""
    if instruction not in INSTRUCTIONS and len(instruction.split()) < 2:
        raise UnknownNameError(
            f'There is no instruction called "{instruction}", and one of your own needs at least two words; '
            f"{did_you_mean(instruction, INSTRUCTIONS)}"
        )


def instruction_text(instruction: str, kind: TargetKind) -> str:
    """The sentence of a registered wording for that kind of target; a wording of the user's own as it is.

    Raises OptionError for a registered wording that has none for this kind.
    """
    if instruction not in INSTRUCTIONS:
        return instruction.strip()
    wording: Wording = INSTRUCTIONS.get(instruction)
    if kind not in wording:
        raise OptionError(f'The instruction "{instruction}" has no wording for this kind of task; choose another one.')
    return wording[kind]
