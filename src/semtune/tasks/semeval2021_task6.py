"""SemEval-2021 Task 6, subtask 1: which of 20 persuasion techniques does the text of a meme use?

Paper: Dimitrov et al. 2021, "SemEval-2021 Task 6: Detection of Persuasion Techniques in Texts and Images", arXiv
2105.09284. The corpus is "free for general research use" and is not redistributed with
semtune: it is read from a folder, or downloaded from the organisers' repository at one commit. The file of a split is
downloaded only when that split is loaded, so tuning on train and dev never downloads the test labels.

The published splits overlap a little, and are used as published: text 474_batch_2 is in train and in test, and the text
of 549_batch_2 (train) is that of 30_batch_2 (dev).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from semtune.errors import DataError
from semtune.records import Example, LeaderboardEntry
from semtune.runtime.cache import cache_folder
from semtune.runtime.files import expanded
from semtune.tasks import scoring
from semtune.tasks.base import BaseTask
from semtune.tasks.download import fetch
from semtune.tasks.files import parse_json_list, read_text
from semtune.tasks.rows import examples_from_rows
from semtune.tasks.techniques import TECHNIQUES, definitions

COMMIT = "796b32fa76b7a5814a48d1870d163058e81e4ce1"
BASE_URL = f"https://raw.githubusercontent.com/di-dimitrov/SEMEVAL-2021-task6-corpus/{COMMIT}"
FILES = {"train": "training_set_task1.txt", "dev": "dev_set_task1.txt", "test": "test_set_task1.txt"}
SHA256 = {
    "train": "2d7bed62f6aeca1ad25104eafdf9ed04029f85919591feab7fee4372e0bbbde2",
    "dev": "266187e4729e8f1dd31739e57130b246b5d9a27f7bb74747eb3d15576af423d2",
    "test": "1680057d06a464ba9897d4481c91fec9a9e50a9b10fdd8865d0ace697e35c6d5",
}
"""Checksums of the organisers' files at COMMIT, for downloads only: a user's folder may have an unlabelled test set."""

FOLDERS = (".", "semeval2021-task6", "data", "semeval2021-task6/data")
"""Locations of a file relative to the given folder: in it, or in the layouts of the organisers' repository."""

_PUBLISHED = (
    ("MinD", 0.59331, 0.28993),
    ("Alpha", 0.57187, 0.26218),
    ("Volta", 0.56958, 0.26621),
    ("mmm", 0.54839, 0.30255),
    ("AIMH", 0.53903, 0.24462),
    ("LeCun", 0.51224, 0.22658),
    ("WVOQ", 0.51057, 0.22671),
    ("TeamUNCC", 0.51027, 0.23634),
    ("NLyticsFKIE", 0.49815, 0.13990),
    ("TeIAS", 0.49740, 0.21391),
    ("DAJUST", 0.49657, 0.18748),
    ("YNUHPCC", 0.49275, 0.26325),
    ("CSECUDSG", 0.48894, 0.18454),
    ("TeamFPAI", 0.40566, 0.11525),
    ("NLPITR", 0.37917, 0.12590),
    ("TriHeadAttention", 0.18373, 0.02397),
    ("Baseline", 0.06439, 0.04427),
)
"""Test micro-F1 and macro-F1 of subtask 1, as the shared task published them."""
LEADERBOARD = tuple(
    LeaderboardEntry(team, {scoring.MICRO_F1.name: micro, scoring.MACRO_F1.name: macro})
    for team, micro, macro in _PUBLISHED
)


class Subtask1(BaseTask):
    """Registered as "semeval2021-task6-subtask1". Data: --data-dir, else $SEMTUNE_DATA, else a download."""

    name = "semeval2021-task6-subtask1"
    usable_options = frozenset({"data_dir"})
    options_hint = "it reads the organisers' files, whose folder --data-dir may name"
    convention = scoring.SHARED_TASK

    @property
    def labels(self) -> tuple[str, ...]:
        """The 20 techniques, in the order of the organisers' class file."""
        return TECHNIQUES

    @property
    def label_definitions(self) -> Mapping[str, str]:
        """The definition of each technique, in this project's words (the official ones are the organisers')."""
        return definitions()

    @property
    def leaderboard(self) -> tuple[LeaderboardEntry, ...]:
        """The shared task's final results on the test split, by micro-F1."""
        return LEADERBOARD

    @property
    def notes(self) -> tuple[str, ...]:
        """How to read the scores, and whom to cite."""
        return (
            "official scorer: a label that is absent from a split and never predicted counts as 1 in macro-F1",
            "the published splits share one text between train and test, and one between train and dev",
            "texts of memes by Dimitrov et al. 2021 (arXiv 2105.09284), free for general research use",
        )

    def _read(self, split: str) -> list[Example]:
        path = self._path(split)
        rows = [(f"{path}: row {n}", row) for n, row in enumerate(parse_json_list(read_text(path), path), start=1)]
        return examples_from_rows(rows, TECHNIQUES, must_be_labelled=split != "test")

    def _path(self, split: str) -> Path:
        """The split's file in the user's folder, or its checked download. Raises DataError, OutputError."""
        given, source = self.options.data_dir, "--data-dir"
        if given is None:
            given, source = os.environ.get("SEMTUNE_DATA") or None, "SEMTUNE_DATA"
        if given is not None:
            return _find(expanded(given), FILES[split], source)
        return fetch(
            f"{BASE_URL}/data/{FILES[split]}",
            SHA256[split],
            cache_folder() / "semeval2021-task6" / COMMIT / FILES[split],
            otherwise="give a folder that holds the organisers' files with --data-dir",
        )


def _find(folder: Path, name: str, source: str) -> Path:
    """`name` in `folder` or where it usually lies beneath. Raises DataError."""
    if not folder.is_dir():
        raise DataError(f"{source} names {folder}, which is not a folder; give the folder of the organisers' files.")
    for candidate in FOLDERS:
        path = folder / candidate / name
        if path.is_file():
            return path
    raise DataError(
        f"{source} names {folder}, but neither it nor its semeval2021-task6 or data folder holds {name}; "
        "give the folder of the organisers' files."
    )
