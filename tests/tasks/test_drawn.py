"""Tables drawn with a line below their header: padding, escaped pipes and quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tables import LABELS, notes, pairs, refused, save

TEXTS = [f"the harbour felt warm {i}" for i in range(18)]
TEXTS[4:7] = ["so | and so", '"so"', 'he said "so"']
ROWS = [(text, LABELS[i % 3]) for i, text in enumerate(TEXTS)]
PLAIN = [(text.replace("|", "/"), label) for text, label in ROWS]
PADDING = "the spaces around each cell were left out, as the table is drawn with a line below its header"


def drawn(rows: list[tuple[str, str]], line: str, rule: str, width: int = 40) -> str:
    cells = [(f"{a:<{width}}", f"{b:^9}") for a, b in [("text", "label"), *rows]]
    header, *body = [line.format(a, b) for a, b in cells]
    return "\n".join([header, rule, *body, ""])


@pytest.mark.parametrize(
    ("line", "rule"),
    [("| {} | {} |", "|---|---|"), ("| {} | {} |", "|:---|:---:|"), ("{} | {}", "--- | ---"), ("|{}|{}|", "|--|--|")],
)
@pytest.mark.parametrize("width", [0, 40])
def test_escaped_pipes_and_quotes_of_markdown_belong_to_the_text(
    tmp_path: Path, line: str, rule: str, width: int
) -> None:
    escaped = [(text.replace("|", "\\|"), label) for text, label in ROWS]
    path = save(tmp_path / "t.csv", drawn(escaped, line, rule, width))
    assert pairs(path) == ROWS
    said = notes(path)
    assert "\\| was read as a pipe of the text, as Markdown writes it, in line 7" in said and PADDING in said
    assert "quotes were read as characters of the text (1 cell begins with one, first: line 8" in said


def test_a_comma_in_the_header_makes_no_other_table_of_markdown(tmp_path: Path) -> None:
    rows = [(f"{text}, so", label) for text, label in PLAIN]
    text = drawn(rows, "| {} | {} |", "|---|---|").replace("| text ", "| text, cleaned ", 1)
    assert pairs(save(tmp_path / "t.csv", text), text_column="text, cleaned") == rows


def test_a_pipe_that_is_not_escaped_is_refused(tmp_path: Path) -> None:
    said = refused(save(tmp_path / "t.csv", drawn(ROWS, "| {} | {} |", "|---|---|")))
    assert "line 7 has " in said and "(in Markdown, write \\| for a pipe)" in said


@pytest.mark.parametrize(
    ("line", "rule", "suffix"),
    [(" {} | {} ", "------+-----", ".txt"), ("{},{}", "-----,-----", ".csv"), ("{}\t{}", "-----\t-----", ".tsv")],
)
def test_padding_of_programs_that_align_columns_is_left_out(tmp_path: Path, line: str, rule: str, suffix: str) -> None:
    path = save(tmp_path / f"t{suffix}", drawn(PLAIN[:4] + PLAIN[7:], line, rule) + "(15 rows)\n")
    assert pairs(path) == PLAIN[:4] + PLAIN[7:] and PADDING in notes(path)


def test_a_backslash_before_a_pipe_stays_in_a_plain_table(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", "text|label\n" + "".join(f"{a}\\|{b}\n" for a, b in PLAIN[:4] + PLAIN[7:]))
    assert pairs(path)[0][0] == TEXTS[0] + "\\"
