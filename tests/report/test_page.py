"""The HTML page: self-contained, escaped, and whole for every kind of study; and reading `study.json`."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from semtune.errors import DataError, OutputError
from semtune.report.html import study_file, write_report
from semtune.report.tables import load_study

from .conftest import lost, run, scores, study, unlabelled

Write = Callable[[dict[str, Any]], Path]
HOSTILE = '<script>alert("x")</script> $x_$ & "'


class Elements(HTMLParser):
    """Tags, attributes and ids of a page; checks that tags are closed in order."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def page_of(folder: Path) -> tuple[str, Elements]:
    path = write_report(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(text)
    assert not elements.open
    return text, elements


STUDIES: dict[str, Callable[[], dict[str, Any]]] = {
    "unlabelled": unlabelled,
    "one run": lambda: study([run()]),
    "no run yet": lambda: study([]),
    "only lost runs": lambda: study([lost("full", "out_of_memory", "too big"), lost("lora", "failed", None)]),
    "seeds": lambda: study([run(m, seed=s, test=0.5 + s / 50) for m in ("lora", "dora") for s in range(3)]),
    "many": lambda: study(
        [run(m, readout=r, model=b) for m in ("full", "lora", "q", "d") for r in ("head", "generate") for b in "ab"]
    ),
    "random weights": lambda: study([run(model="shape:llama-2-7b")]),
}


@pytest.mark.parametrize("kind", STUDIES)
def test_page_is_whole_and_asks_for_nothing_outside(kind: str, write_study: Write) -> None:
    text, elements = page_of(write_study(STUDIES[kind]()))
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(elements.tags)
    for name, value in elements.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "action", "data"):
            assert (value or "").startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*[\"']?([^)]*)\)", text))
    assert "@import" not in text
    ids = [value for name, value in elements.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value for name, value in elements.attributes if name in ("href", "xlink:href")}
    assert targets <= {f"#{value}" for value in ids}


def test_page_holds_figures_tables_and_how_to_repeat(mixed: dict[str, Any], write_study: Write) -> None:
    text, elements = page_of(write_study(mixed))
    assert elements.tags.count("svg") == 4
    assert elements.tags.count("desc") == 4
    assert "does not fit" in text
    assert "semtune study studies/demo.yaml" in text
    assert "398,159,872 bytes" in text
    assert "torch" in text
    assert "Not shown: full (does not fit), dora (diverged)." in text
    assert "exponential moving average" in text


def test_only_lost_runs_leave_figures_out_with_a_sentence(write_study: Write) -> None:
    text, elements = page_of(write_study(study([lost("full", "out_of_memory", "too big")])))
    assert "svg" not in elements.tags
    assert "No run has both a memory peak and a score on record." in text
    assert "No run has a training speed on record." in text


def test_dev_on_the_axis_is_said(write_study: Write) -> None:
    text, _ = page_of(write_study(unlabelled()))
    assert "dev micro-F1 (dev chose the epoch: optimistic)" in text


def test_user_data_is_escaped(write_study: Write) -> None:
    by_split = {"dev": scores(0.5), "test": scores(0.5, labels=(HOSTILE, "b"))}
    record = study(
        [run(HOSTILE, scores=by_split, notes=[HOSTILE], out="a"), run("lora", model=HOSTILE, out="b")],
        task=HOSTILE, command=HOSTILE, spec={"task": HOSTILE}, task_notes=[HOSTILE],
    )  # fmt: skip
    record["baselines"][0]["name"] = HOSTILE
    record["environment"] = {"cpu": HOSTILE, "packages": {HOSTILE: HOSTILE}}
    text, elements = page_of(write_study(record))
    assert "script" not in elements.tags
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_same_records_give_the_same_page(mixed: dict[str, Any], write_study: Write) -> None:
    folder = write_study(mixed)
    assert page_of(folder)[0] == page_of(folder)[0]


def test_study_file_is_what_a_study_reads() -> None:
    spec = {
        "task": "table", "models": ["default"], "methods": ["lora"], "seeds": [0], "shared": {"epochs": 2},
        "overrides": {}, "task_options": {"data": "x.csv", "labels": None},
    }  # fmt: skip
    assert yaml.safe_load(study_file(spec)) == {
        "task": "table", "models": ["default"], "methods": ["lora"], "seeds": [0], "epochs": 2,
        "task_options": {"data": "x.csv"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no study.json"),
        ("{", "not readable JSON"),
        ("[1]", "does not hold a study"),
        ('{"format": 2, "task": "x", "runs": []}', "has format 2"),
        ('{"format": 1, "runs": []}', '"task" is missing'),
        ('{"format": 1, "task": "x", "runs": {}}', '"runs" is missing or of the wrong kind'),
        ('{"format": 1, "task": "x", "runs": [{"task": "x"}]}', "is broken"),
        ('{"format": 1, "task": "x", "runs": [3]}', "does not hold the result of a run"),
        ('{"format": 1, "task": "x", "runs": [], "baselines": [{"scores": {}}]}', 'there is no \'name\''),
    ],
)  # fmt: skip
def test_broken_studies_are_one_sentence(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "study.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_study(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unwritable_folder(mixed: dict[str, Any], write_study: Write) -> None:
    folder = write_study(mixed)
    (folder / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html cannot be written"):
        write_report(folder)


def test_a_failed_write_loses_nothing(mixed: dict[str, Any], write_study: Write) -> None:
    folder = write_study(mixed)
    before = page_of(folder)[0]
    (folder / "study.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError):
        write_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == before


def test_reports_need_no_torch_and_leave_matplotlib_alone(mixed: dict[str, Any], write_study: Write) -> None:
    folder = write_study(mixed)
    code = (
        "import sys, pathlib, semtune.report.terminal\n"
        "from semtune.report.html import write_report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib as mpl\n"
        "settings = lambda: {key: mpl.rcParams[key] for key in mpl.rcParams if key != 'backend'}\n"  # read: pyplot
        "before = settings()\n"
        f"write_report(pathlib.Path({json.dumps(str(folder))}))\n"
        "unwanted = {'torch', 'matplotlib.pyplot', 'semtune.study.study', 'semtune.study.grid', 'semtune.cli'}\n"
        "loaded = unwanted & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert settings() == before\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name",
    ['say id="x" fill: #1d1f23', "_hidden", "$\\frac{1}{2", "a$b$c", "$", "'DejaVu Sans' url(#a)", "<b>&lt;</b>"],
)
def test_a_name_stands_in_the_figures_as_it_is(name: str, write_study: Write) -> None:
    """It is neither mathematics, nor an id, nor a colour, nor left out of a legend."""
    record = study([run("lora", model=name), run("lora", model="other")], baselines=[])
    text, _ = page_of(write_study(record))
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    drawn = [html.unescape(found) for found in re.findall(r"<text[^>]*>(.*?)</text>", figures, flags=re.DOTALL)]
    assert sum(name in found for found in drawn) >= 3, drawn  # a mark, a bar, a legend


def test_runs_without_fingerprints_are_said_to_be_so(write_study: Write) -> None:
    """Records of version 0.1.0 read, and so do those that know which data and model they are of."""
    folder = write_study(study([run("lora"), run("full", data_fingerprint="00ff", kept_from="measured on 2026-01-01")]))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "1 of 2 runs had is not on record (fingerprint unknown)" in page
    assert "Kept from before: measured on 2026-01-01." in page
