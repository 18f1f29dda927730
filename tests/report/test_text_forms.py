"""The tables in a terminal and in Markdown."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from semtune.report.markdown import escape, markdown_tables
from semtune.report.terminal import print_study

from .conftest import run, study, unlabelled


def printed(record: dict[str, Any], width: int) -> str:
    stream = io.StringIO()
    print_study(record, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def several_readouts_and_seeds() -> dict[str, Any]:
    return study(
        [
            run(method, readout=readout, seed=seed, test=0.5 + seed / 100)
            for method in ("full", "lora", "qlora", "dora")
            for readout in ("head", "generate-constrained")
            for seed in range(3)
        ]
    )


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("make", [several_readouts_and_seeds, unlabelled])
def test_no_line_is_wider_than_the_terminal_and_none_is_cut(make: Any, width: int) -> None:
    text = printed(make(), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…  Left out" in text or "…" not in text
    for method in ("lora", "qlora"):
        assert method in text


def test_narrow_terminals_keep_what_matters_and_say_what_they_leave_out() -> None:
    text = printed(several_readouts_and_seeds(), 80)
    assert "0.510 ± 0.010" in text  # test micro-F1 keeps its spread
    assert "2.75" in text  # peak while training
    left_out = text[text.index("Left out, since the terminal is narrow") :]
    assert "trainable (% of all)" in " ".join(left_out.split())
    assert "Left out" not in printed(several_readouts_and_seeds(), 240)


@pytest.mark.parametrize("width", [80, 120])
def test_outcomes_and_reasons_are_shown(mixed: dict[str, Any], width: int) -> None:
    text = printed(mixed, width)
    assert text.count("does not fit") >= 3
    assert "diverged" in text
    assert "0.652" in text
    assert "needed more memory than this machine has free (12.3 GB)" in " ".join(text.split())


def test_rich_markup_in_names_is_text() -> None:
    text = printed(study([run("lora", model="[red]x[/red]"), run("dora")], task_notes=["[bold]note"]), 120)
    assert "[red]x[/red]" in text
    assert "[bold]note" in text


def test_markdown_rows(mixed: dict[str, Any]) -> None:
    lines = markdown_tables(mixed).splitlines()
    assert "| lora | 0.518 | 23.7 | 48.0 | 580 | 22.7 |" in lines
    assert "| lora | 4.88 | 3.50 | 0.71 | 2.75 | 1.77 | **0.652** | 0.300 | 0.686 |" in lines
    assert "| full | – | – | – | – | does not fit ⁴ | – | – | – |" not in lines  # its columns end one earlier
    assert any(line.startswith("| full | – | – | – | does not fit") for line in lines)
    assert any(line.startswith("| *top-3* (baseline) |") for line in lines)
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables} == {7, 10}


def test_markdown_escapes() -> None:
    assert escape("a|b<script>*x*_y_\nz") == r"a\|b&lt;script&gt;\*x\*\_y\_ z"


def test_names_are_never_markup_for_the_terminal_or_markdown() -> None:
    name = "[/bold] [red]m[/red] :smile: $x$ \x1b[2J"
    record = study([run("lora", model=name), run("lora", model="other")], labels=[name], task_notes=[name])
    text = printed(record, 400)
    assert "[/bold] [red]m[/red] :smile: $x$ \\x1b[2J" in text
    assert "\x1b" not in text
    assert r"\$x\$" in markdown_tables(record)
