"""A study as an object: its record, its tables, its page, and its runs to predict with."""

from __future__ import annotations

import io
import os
import shutil
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semtune.api.run import Run
from semtune.runtime.files import expanded

if TYPE_CHECKING:
    from semtune.report.table import Table

TERMINAL_COLUMNS = 120
"""Width of the tables of `str(study)`."""


class Study:
    """A study folder. In a notebook it shows itself as its tables."""

    def __init__(self, folder: str | os.PathLike[str], *, trust_remote_code: bool = False) -> None:
        """`trust_remote_code`: whether the runs may run code that comes with their base models.

        Raises DataError: `folder` contains no study.
        """
        from semtune.report.view import load_study

        self.folder, self._trust = expanded(folder), trust_remote_code
        self.record: dict[str, Any] = load_study(self.folder)
        """The content of study.json: spec, environment, runs, baselines."""

    @property
    def runs(self) -> dict[str, Run]:
        """The runs that have a folder, by its name."""
        names = [str(run["out"]) for run in self.record["runs"] if run["out"] is not None]
        found = {name: self.folder / name for name in names if _is_run(self.folder / name)}
        return {name: Run(folder, trust_remote_code=self._trust) for name, folder in found.items()}

    @property
    def tables(self) -> list[Table]:
        """The tables of the report, as data."""
        from semtune.report.tables import all_tables

        return all_tables(self.record)

    def report(self) -> Path:
        """Write report.html, a page that needs nothing beside it; returns its path."""
        from semtune.report.html import write_report

        return write_report(self.folder)

    def keep_with(self, folder: Path) -> None:
        """Remove `folder` when this object is gone."""
        weakref.finalize(self, shutil.rmtree, str(folder), ignore_errors=True)

    def __repr__(self) -> str:
        return f"<Study of {len(self.record['runs'])} runs on {self.record['task']}, in {self.folder}>"

    def __str__(self) -> str:
        """The tables as a terminal shows them."""
        from rich.console import Console

        from semtune.report.terminal import print_study

        text = io.StringIO()
        print_study(self.record, Console(file=text, width=TERMINAL_COLUMNS, force_jupyter=False))
        return text.getvalue()

    def _repr_markdown_(self) -> str:
        from semtune.report.markdown import markdown_tables

        return markdown_tables(self.record)


def _is_run(folder: Path) -> bool:
    from semtune.runs.folder import RunFolder

    return RunFolder.current(folder).spec.exists()
