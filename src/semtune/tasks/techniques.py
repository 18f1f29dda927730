"""The 20 persuasion techniques of SemEval-2021 Task 6, subtasks 1 and 2, in the order of the organisers' class file.

Source: techniques_list_task1-2.txt of
https://github.com/di-dimitrov/SEMEVAL-2021-task6-corpus/tree/796b32fa76b7a5814a48d1870d163058e81e4ce1
(Dimitrov et al. 2021, arXiv 2105.09284). The order is that of the file, "Bandwagon" last, because the organisers'
random baseline draws by position. One name holds commas and one an "é".
"""

from __future__ import annotations

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
