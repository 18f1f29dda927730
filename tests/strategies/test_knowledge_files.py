"""Which files of knowledge are tables, and where their entries have their dates."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import pytest

from semtune.contracts import TaskContext
from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.strategies._knowledge import Knowledge
from semtune.tasks.table import Table

from .conftest import context, examples, fitted, strategy

MAY = "2022-05-06"


def dates(file: Path, text: str, date_column: str | None = None) -> list[str | None]:
    file.write_text(text, encoding="utf-8")
    return [entry.date for entry in Knowledge.read(file, date_column).entries]


@pytest.mark.parametrize(
    "column", ["date", "published", "created_at", "Created At", "publishedAt", "pub_date", "timestamp", "time", "day"]
)
def test_columns_of_dates_have_many_names(tmp_path: Path, column: str) -> None:
    assert dates(tmp_path / "k.csv", f"text,{column}\nsoup,{MAY}\nbread,\n") == [MAY, None]


def test_the_name_of_the_texts_own_date_column_counts(tmp_path: Path) -> None:
    rows = f"text,jour,date\nsoup,{MAY},2020-01-01\n"
    assert dates(tmp_path / "k.csv", rows, "jour") == [MAY]
    assert dates(tmp_path / "k.csv", rows) == ["2020-01-01"]
    lines = [f"2021-01-01,soup {i},{'good' if i % 2 else 'bad'}" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["jour,text,label", *lines]), encoding="utf-8")
    task = Table(TaskOptions(data=str(tmp_path / "t.csv"), date_column="jour", dev_fraction=0.3))
    assert TaskContext.of(task).date_column == "jour"
    made = type(strategy("zero-shot"))(
        dataclasses.replace(context(), date_column="jour"),
        strategy("zero-shot").prompt,
        strategy("zero-shot", knowledge=str(tmp_path / "k.csv")).settings,
    )
    made.read()
    assert made.knowledge.entries[0].date == MAY


def test_other_forms_of_dates_in_a_column(tmp_path: Path) -> None:
    cells = ['"May 6, 2022"', "06.05.2022", '"Fri, 06 May 2022 10:00:00 GMT"', "1651838400"]
    for column in ("date", "timestamp"):
        assert dates(tmp_path / "k.csv", f"text,{column}\n" + "\n".join(f"soup,{c}" for c in cells)) == [MAY] * 4
    with pytest.raises(DataError, match='has the date "05/06/2022"'):
        dates(tmp_path / "k.csv", "text,date\nsoup,05/06/2022\n")


def test_columns_that_may_hold_something_else_are_noted(tmp_path: Path) -> None:
    file = tmp_path / "k.csv"
    assert dates(file, "text,day\nsoup,Monday\ntea,Friday\n") == [None, None]
    assert 'column "day" has no date of a known form, such as 2021-03-05, in 2 rows' in Knowledge.read(file).notes[0]
    assert dates(file, f"text,created,updated,time\nsoup,{MAY},2024-01-01,10:30\n") == [MAY]
    assert Knowledge.read(file).notes == (f'{file}: dates are read from column "created", and not from "updated"',)


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("6 May 2022", ""), ("06.05.2022", ""), ("News of 2022-05-06", "News of 2022-05-06"),
        ("May 6th, 2022: soup", "soup"),
        ("2022-04-01 to 2022-05-06", "to 2022-05-06"), ("2022-05-06", ""),
        ("Kitchen, 6 May 2022", "Kitchen, 6 May 2022"),
    ],
)  # fmt: skip
def test_headings_have_dates_of_many_forms(tmp_path: Path, heading: str, title: str) -> None:
    (tmp_path / "k.md").write_text(f"# {heading}\n\n- soup\n", encoding="utf-8")
    (entry,) = Knowledge.read(tmp_path / "k.md").entries
    assert (entry.date, entry.title, entry.text) == (MAY, title, "soup")


def test_a_date_counts_for_what_is_below_it(tmp_path: Path) -> None:
    text = (
        f"# {MAY}\n## Food\n- soup\n## 2022-05-07\ntea\n## Drinks\nmilk\n# Others\nbread\n\n**2022-05-08**\n\n- salt\n"
    )
    assert dates(tmp_path / "k.md", text) == [MAY, "2022-05-07", MAY, None, "2022-05-08"]
    text = f"{MAY}\n\nsoup\n\ntea\n\n2022-05-07\n=====\n\nbread\n"
    assert dates(tmp_path / "k.txt", text) == [
        MAY,
        MAY,
        "2022-05-07",
    ]


@pytest.mark.parametrize(
    ("above", "heading", "date"),
    [
        ("begun 2021-01-01", "June 2023", "2023-06-30"), ("begun 2021-01-01", "Q3/2024", "2024-09-30"),
        ("begun 2021-01-01", "Words of 2022", "2022-12-31"), ("2021-01-01", "2021", "2021-12-31"),
        ("begun 2021-01-01", "August", "2021-08-31"), ("2024", "June 2024", "2024-06-30"),
        ("2024", "August", "2024-08-31"), ("begun 2021-01-01", "Windows 2000", "2021-01-01"),
        ("2021", "2021-05-06", MAY.replace("2022", "2021")), ("Words", "12/2023", "2023-12-31"),
    ],
)  # fmt: skip
def test_a_heading_that_names_a_period_inherits_no_older_date(
    tmp_path: Path, above: str, heading: str, date: str
) -> None:
    assert dates(tmp_path / "k.md", f"# {above}\n\n## {heading}\n\n- soup\n\n### Drinks\n\ntea\n") == [date, date]


def test_a_period_at_the_beginning_of_a_paragraph_is_no_older_than_what_is_above(tmp_path: Path) -> None:
    text = f"{MAY}\n\nsoup\n\nJune 2023: tea\n\nmilk\n\n**Q3 2024**\n\nsalt\n\n1984: a novel\n\nIn 2025\n"
    file = tmp_path / "k.txt"
    assert dates(file, text) == [MAY, "2023-06-30", MAY, "2024-09-30", "2024-09-30", "2024-09-30"]
    (note,) = Knowledge.read(file).notes
    assert 'in 3 rows (first: line 5, "June 2023: tea" as 2023-06-30)' in note and "an incomplete date" in note
    assert [e.text for e in Knowledge.read(file).entries][1] == "June 2023: tea"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"({MAY}) soup is warm", "soup is warm"), ("6 May 2022: soup is warm", "soup is warm"),
        ("May 6, 2022 \u2013 soup is warm", "soup is warm"), ("06.05.2022 was warm", "06.05.2022 was warm"),
        ("6 May 2022, a warm day", "6 May 2022, a warm day"),
    ],
)  # fmt: skip
def test_a_date_at_the_beginning_of_an_entry_is_no_part_of_it_unless_a_sentence_goes_on(
    tmp_path: Path, text: str, shown: str
) -> None:
    (tmp_path / "k.txt").write_text(text, encoding="utf-8")
    (entry,) = Knowledge.read(tmp_path / "k.txt").entries
    assert (entry.date, entry.text) == (MAY, shown)


@pytest.mark.parametrize(("name", "separator"), [("k.tab", "\t"), ("k.psv", "|"), ("k.csv.gz", ","), ("k.TSV", "\t")])
def test_what_data_reads_as_a_table_is_one_here(tmp_path: Path, name: str, separator: str) -> None:
    text = separator.join(["text", "date"]) + "\n" + separator.join(["soup", MAY]) + "\n"
    packed = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(packed) if name.endswith(".gz") else packed)
    (entry,) = Knowledge.read(tmp_path / name).entries
    assert (entry.text, entry.date) == ("soup", MAY)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("k.txt", "term\tmeaning\nsoup\twarm\n"), ("k.dat", "term;definition\nsoup;warm\n"),
        ("k.md", "| Term | Meaning |\n|---|---|\n| soup | warm |\n"), ("k.csv.bak", "text,date\nsoup,2022-05-06\n"),
        ("k.log", '{"text": "soup"}\n{"text": "tea"}\n'), ("k", '[{"text": "soup"}]'),
    ],
)  # fmt: skip
def test_a_table_that_its_suffix_hides_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"seems to be a table .*; call it \.(csv|jsonl) or"):
        Knowledge.read(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    ["Meaning, text and body are words.\n", "soup: warm, red\ntea: hot, green\n", "# Content\n- a | b\n", "{x}\n"],
)
def test_running_text_is_no_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.md").write_text(text, encoding="utf-8")
    assert Knowledge.read(tmp_path / "k.md").entries


def test_entries_that_no_date_holds_back_are_noted(tmp_path: Path) -> None:
    file = tmp_path / "k.csv"
    file.write_text(f"text,date\nsoup,{MAY}\nbread,\n", encoding="utf-8")
    made = strategy("retrieval", knowledge=str(file))
    made.fit([dataclasses.replace(e, date="2021-01-01") for e in examples()])
    assert made.notes == ("--knowledge: 1 of 2 entries have no date, so they are never held back",)
    assert "1 of 2 entries have a date, but no training text" in fitted("few-shot", knowledge=str(file)).notes[0]
    assert fitted("few-shot", knowledge=str(file), newer_entries="included").notes == ()
    file.write_text("text\nsoup\nbread\n", encoding="utf-8")
    assert fitted("zero-shot", knowledge=str(file)).notes == ()


def test_front_matter_gives_title_and_date_to_all_entries(tmp_path: Path) -> None:
    head = f"---\ntitle: Slang\ndate: {MAY}\ntags: [words]\n---\n"
    (tmp_path / "k.md").write_text(f"{head}\nsoup\n\n# Bread\n\n- crust\n\n## 2022-05-08\n\ntea\n", encoding="utf-8")
    knowledge = Knowledge.read(tmp_path / "k.md")
    found = [(entry.id, entry.title, entry.text, entry.date) for entry in knowledge.entries]
    assert found == [
        ("line 7", "Slang", "soup", MAY),
        ("line 11", "Bread", "crust", MAY),
        ("line 15", "", "tea", "2022-05-08"),
    ]
    assert f'front matter: the title "Slang" and the date {MAY} taken for all entries' in " ".join(knowledge.notes)


@pytest.mark.parametrize(
    "text", ["---\n\nsoup: warm\n", "---\nsoup\n---\n", "--- soup: a\n---\nb\n", "---\na: [\n---\n"]
)
def test_rules_and_broken_fields_are_no_front_matter(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.md").write_text(f"{text}\nbread\n", encoding="utf-8")
    knowledge = Knowledge.read(tmp_path / "k.md")
    assert "front matter" not in " ".join(knowledge.notes) and knowledge.entries[-1].text == "bread"


@pytest.mark.parametrize("date", ["2021-13-45", "soon", "[1, 2]", "05/06/2022", ""])
def test_front_matter_without_a_date_of_a_known_form(tmp_path: Path, date: str) -> None:
    (tmp_path / "k.md").write_text(f"---\ndate: {date}\n---\n\nsoup\n", encoding="utf-8")
    knowledge = Knowledge.read(tmp_path / "k.md")
    assert [(entry.text, entry.date) for entry in knowledge.entries] == [("soup", None)]
    assert "front matter: neither title nor date taken" in " ".join(knowledge.notes)


def test_comments_in_markdown_are_no_entries(tmp_path: Path) -> None:
    (tmp_path / "k.md").write_text("<!-- to do:\nall -->\n\nsoup <!-- hot -->\n", encoding="utf-8")
    knowledge = Knowledge.read(tmp_path / "k.md")
    assert [(entry.id, entry.text) for entry in knowledge.entries] == [("line 4", "soup")]
    assert "comments of HTML were left out" in " ".join(knowledge.notes)
