"""The practice task: short invented texts over the 20 persuasion techniques, shipped with semtune.

The texts are about fictional towns, brands and clubs, and were written for this project; what each label means is in
`practice_data/definitions.md`. The label frequencies are roughly those of the SemEval-2021 Task 6 corpus; the texts are
invented. A score on them shows that a method works, and nothing about how it ranks on real data.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path

from semtune.errors import DataError
from semtune.records import Example
from semtune.tasks.base import BaseTask
from semtune.tasks.files import parse_json_lines, read_text
from semtune.tasks.rows import examples_from_rows
from semtune.tasks.techniques import TECHNIQUES, definitions


class Practice(BaseTask):
    """Registered as "practice"; it has no options."""

    name = "practice"
    options_hint = "its texts are shipped with semtune, so leave it out"

    @property
    def labels(self) -> tuple[str, ...]:
        """The 20 techniques, in the order of the shared task's class file."""
        return TECHNIQUES

    @property
    def label_definitions(self) -> Mapping[str, str]:
        """The definition of each technique."""
        return definitions()

    @property
    def notes(self) -> tuple[str, ...]:
        """A remark that these scores are no benchmark."""
        return ("practice data: invented texts written for semtune, for trying things out; never a benchmark",)

    def _read(self, split: str) -> list[Example]:
        resource = importlib.resources.files("semtune.tasks") / "practice_data" / f"{split}.jsonl"
        if not resource.is_file():
            raise DataError(f"The practice data ({split}.jsonl) is missing from this installation; reinstall semtune.")
        with importlib.resources.as_file(resource) as path:
            rows = parse_json_lines(read_text(Path(path)), Path(path.name))
        rows_with_lines = [(f"{split}.jsonl, line {number}", row) for number, row in rows]
        return examples_from_rows(rows_with_lines, TECHNIQUES, must_be_labelled=True)
