"""A study as one self-contained HTML page: no scripts, no requests, nothing but what is on record.

Labels, names and notes are user data: the template escapes all of it, and the page's content policy forbids scripts and
requests besides. The figures' SVG is the only markup that goes in as it is; matplotlib escapes the text in it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from semtune.report.detail_tables import label_table, runs_table
from semtune.report.figures import all_figures
from semtune.report.prompted_table import prompted_table
from semtune.report.style import series_of
from semtune.report.summary import summary
from semtune.report.table import Table
from semtune.report.tables import all_tables
from semtune.report.templating import environment
from semtune.report.transcripts import Transcripts, write_pages
from semtune.report.view import load_study, view_of
from semtune.runtime.files import write_text

__all__ = ["load_study", "render", "write_report"]


def write_report(study_folder: Path) -> Path:
    """Write `report.html` into a study's folder, and a page for each run with transcripts; return the report's path.

    Raises:
        DataError: `study.json` is missing or broken.
        OutputError: the folder cannot be written, or a transcript not be read.
    """
    study = load_study(study_folder)
    prompted = write_pages(view_of(study), study_folder)
    page = render(study, study_folder, prompted)
    path = study_folder / "report.html"
    write_text(path, page, advice="make the folder writable")
    return path


def render(study: Mapping[str, Any], study_folder: Path, prompted: Sequence[Transcripts] = ()) -> str:
    """The page as text, with links to the pages of `prompted`. `study_folder` contains the run folders.

    Raises DataError.
    """
    view = view_of(study)
    tables = all_tables(study)
    found = (prompted_table(view, prompted), label_table(view), runs_table(view))
    details = [table for table in found if table is not None]
    figures = [(figure, Markup(figure.svg or "")) for figure in all_figures(view, study_folder)]
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            task=view.task,
            command=str(study.get("command") or ""),
            date=_date(study, study_folder),
            machine=_machine(study.get("environment") or {}),
            summary=summary(view),
            tables=_numbered(tables, 1),
            details=_numbered(details, len(tables) + 1),
            figures=figures,
            notes=view.notes,
            series=series_of(view),
            spec=study_file(study.get("spec") or {}),
            environment=_environment(study.get("environment") or {}),
        )
    )
    return page.rstrip() + "\n"


def _numbered(tables: list[Table], first: int) -> list[tuple[int, Table]]:
    return list(enumerate(tables, start=first))


def _date(study: Mapping[str, Any], folder: Path) -> str:
    """The date of the study where it is on record; else "study.json of" and the date when that file was written."""
    if study.get("date"):
        return str(study["date"])
    try:
        written = (folder / "study.json").stat().st_mtime
    except OSError:
        return ""
    return "study.json of " + datetime.datetime.fromtimestamp(written, tz=datetime.UTC).strftime("%Y-%m-%d")


def _memory_text(size: Any) -> str:
    return f"{size * 1e-9:.0f} GB" if isinstance(size, (int, float)) else ""


def _machine(environment: Mapping[str, Any]) -> str:
    """The machine in one line."""
    gpus = [
        str(gpu.get("name", gpu)) if isinstance(gpu, Mapping) else str(gpu) for gpu in environment.get("gpus") or ()
    ]
    cores = environment.get("cores")
    parts = [
        str(environment.get("cpu") or ""),
        f"{cores} cores" if cores else "",
        _memory_text(environment.get("total_memory_bytes")),
        ", ".join(gpus) if gpus else ("no GPU" if "gpus" in environment else ""),
    ]
    return " · ".join(part for part in parts if part)


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The environment as names and values, packages last."""
    known = {
        "cpu": "processor", "cores": "cores", "threads": "threads", "native_bf16": "multiplies bf16 natively",
        "total_memory_bytes": "memory", "gpus": "GPUs", "cuda": "CUDA", "platform": "system", "python": "Python",
    }  # fmt: skip
    found = []
    for key, name in known.items():
        if key not in environment:
            continue
        value = environment[key]
        if key == "total_memory_bytes":
            text = f"{value:,} bytes" if isinstance(value, int) else "unknown"
        elif isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, list):
            text = "; ".join(_gpu(gpu) for gpu in value) or "none"
        else:
            text = "none" if value is None else str(value)
        found.append((name, text))
    packages = environment.get("packages") or {}
    return [*found, *((str(name), str(version)) for name, version in packages.items())]


def _gpu(gpu: Any) -> str:
    if not isinstance(gpu, Mapping):
        return str(gpu)
    memory = _memory_text(gpu.get("memory_bytes"))
    return str(gpu.get("name", "")) + (f" ({memory})" if memory else "")


def study_file(spec: Mapping[str, Any]) -> str:
    """The study as the YAML file that would run it again: shared options at the top level, empty ones left out."""
    flat = {key: value for key, value in spec.items() if key != "shared"} | dict(spec.get("shared") or {})
    if isinstance(flat.get("task_options"), Mapping):
        flat["task_options"] = {k: v for k, v in flat["task_options"].items() if v is not None}
    flat = {key: value for key, value in flat.items() if value not in (None, {}, [], ())}
    return yaml.safe_dump(flat, sort_keys=False, allow_unicode=True, width=100)
