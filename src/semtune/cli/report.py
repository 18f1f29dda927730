"""`semtune report`: tables and the HTML page of a study, from its records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semtune.cli import options as o


def report(
    study: Annotated[Path, typer.Argument(help="The study folder that `semtune study` wrote.")],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables as GitHub Markdown, for a README or a pull request.")
    ] = False,
    json: o.Json = False,
) -> int:
    """Print a study's tables and write its report.html again."""
    from rich.console import Console

    from semtune.report.html import write_report
    from semtune.report.markdown import markdown_tables
    from semtune.report.tables import load_study
    from semtune.report.terminal import print_study

    record = load_study(study)
    page = write_report(study)  # before anything is printed, which can fail
    if markdown:
        typer.echo(markdown_tables(record), nl=False, err=json)
    else:
        print_study(record, Console(stderr=json))
    o.say(f"report: {page}")
    if json:
        o.print_json(record)
    return 0
