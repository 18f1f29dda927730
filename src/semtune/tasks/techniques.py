"""The 20 persuasion techniques of SemEval-2021 Task 6, subtasks 1 and 2, in the order of the organisers' class file.

Source: techniques_list_task1-2.txt of
https://github.com/di-dimitrov/SEMEVAL-2021-task6-corpus/tree/796b32fa76b7a5814a48d1870d163058e81e4ce1
(Dimitrov et al. 2021, arXiv 2105.09284). The order is that of the file, "Bandwagon" last, because the organisers'
random baseline draws by position. One name contains commas and one an "é".
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from types import MappingProxyType

TECHNIQUES: tuple[str, ...] = (
    "Appeal to authority",
    "Appeal to fear/prejudice",
    "Black-and-white Fallacy/Dictatorship",
    "Causal Oversimplification",
    "Doubt",
    "Exaggeration/Minimisation",
    "Flag-waving",
    "Glittering generalities (Virtue)",
    "Loaded Language",
    "Misrepresentation of Someone's Position (Straw Man)",
    "Name calling/Labeling",
    "Obfuscation, Intentional vagueness, Confusion",
    "Presenting Irrelevant Data (Red Herring)",
    "Reductio ad hitlerum",
    "Repetition",
    "Slogans",
    "Smears",
    "Thought-terminating cliché",
    "Whataboutism",
    "Bandwagon",
)


@functools.cache
def definitions() -> Mapping[str, str]:
    """The definition of each technique in one sentence: columns 2 and 3 in `practice_data/definitions.md`."""
    file = importlib.resources.files("semtune.tasks") / "practice_data" / "definitions.md"
    rows = [line.strip("| ").split(" | ") for line in file.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    found = {row[0]: f"a text has it when {row[1]}; it does not when {row[2]}" for row in rows if row[0] in TECHNIQUES}
    return MappingProxyType({technique: found[technique] for technique in TECHNIQUES})
