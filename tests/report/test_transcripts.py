"""Pages of transcripts: what they show and leave out, that they are escaped, bounded and ask for nothing outside."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semtune.report.html import write_report
from semtune.report.transcript_view import CALLS, CHARACTERS, shared_beginning
from semtune.report.transcripts import Transcripts, found_transcripts, read, render, write_pages
from semtune.report.view import view_of

from .conftest import run, study
from .test_page import Elements, page_of

Write = Callable[[dict[str, Any]], Path]
HOSTILE = '</div></bdi><script>alert("x")</script> <|im_end|> \x00\x1b[31m\u202e\r\u2028 & \'"'
PREAMBLE = "Which techniques does the text use?\n" * 4


def prompted(out: str = "asked", **changes: Any) -> dict[str, Any]:
    return run("", readout="", approach="prompted", name="few-shot", out=out, **changes)


def call(prompt: str = "p", completion: str = " Doubt", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "tokens": [12, 3], "seconds": 0.25, **more}


def line(number: int = 0, split: str = "dev", **changes: Any) -> dict[str, Any]:
    """A text that was asked once, rightly."""
    labels = {"labels": ["Doubt", "Slogans"]}
    return {
        "split": split, "id": f"text {number}", "text": f"words {number}", "gold": labels, "prediction": labels,
        "parsed": True, "calls": [call(f"{PREAMBLE}words {number}")],
    } | changes  # fmt: skip


def written(folder: Path, lines: list[Any], out: str = "asked") -> None:
    (folder / out).mkdir(exist_ok=True)
    texts = [entry if isinstance(entry, str) else json.dumps(entry) for entry in lines]
    (folder / out / "transcripts.jsonl").write_text("\n".join(texts), encoding="utf-8")


def opened(path: Path) -> tuple[str, Elements]:
    """A page that is well-formed, has no script, asks for nothing outside, and whose links lead somewhere."""
    text = path.read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(text)
    assert not elements.open
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(elements.tags)
    ids = [value for name, value in elements.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for name, value in elements.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "action", "data"):
            assert value is not None
            assert value.removeprefix("#") in ids if value.startswith("#") else (path.parent / value).is_file()
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*[\"']?([^)]*)\)", text))
    assert "@import" not in text
    return text, elements


def page(tmp_path: Path, lines: list[Any], **changes: Any) -> str:
    """The page of a study's only run."""
    (tmp_path / "report.html").touch()
    written(tmp_path, lines)
    write_pages(view_of(study([prompted()], **changes)), tmp_path)
    return opened(tmp_path / "transcripts-asked.html")[0]


def test_a_text_with_its_gold_prediction_and_call(tmp_path: Path) -> None:
    text = page(tmp_path, [line(date="2021-03-05"), line(1, prediction={"labels": ["Slogans", "Doubt"]})])
    assert "words 0" in text
    assert "2021-03-05" in text
    assert text.count("Predicted: <bdi>Doubt, Slogans</bdi> · gold: <bdi>Doubt, Slogans</bdi>") == 1
    assert "Right: 2 of the 2 with known gold." in text, "labels have no order"
    assert "12 + 3 tokens · 0.250 s" in text
    assert "asked/transcripts.jsonl" in text


def test_wrong_and_unparsable_texts_can_be_filtered(tmp_path: Path) -> None:
    wrong = {"labels": []}
    text = page(tmp_path, [line(), line(1, prediction=wrong), line(2, prediction=wrong, parsed=False)])
    classes = [" ".join(found.split()) for found in re.findall(r'<article id="t\d" class="([^"]*)">', text)]
    assert classes == ["", "wrong", "wrong unparsable"]
    assert [f">{word}</label>" in text for word in ("all (3)", "wrong (2)", "unparsable (1)")] == [True] * 3
    assert "Predicted: <bdi>no label</bdi>" in text
    for kind in ("wrong", "unparsable"):
        assert f"#show-{kind}:checked ~ .texts > article:not(.{kind})" in text
    assert text.index('id="show-unparsable"') < text.index('<div class="texts">'), "the rule needs it before the texts"


def test_spans_and_free_texts_are_shown_and_compared(tmp_path: Path) -> None:
    spans = {"spans": [{"start": 0, "end": 3, "label": "Doubt"}, {"start": 4, "end": 9, "label": "Slogans"}]}
    turned, other = {"spans": spans["spans"][::-1]}, {"spans": [{"start": 0, "end": 2, "label": "Doubt"}]}
    answers = [(spans, turned), (spans, other), ({"text": "yes"}, {"text": "yes"}), ({"text": "yes"}, {"text": "no"})]
    text = page(tmp_path, [line(i, gold=g, prediction=p) for i, (g, p) in enumerate(answers)])
    assert re.findall(r'<span class="verdict(?: right)?">(\w+)</span>', text) == ["right", "wrong"] * 2
    assert "gold: <bdi>Doubt (0–3), Slogans (4–9)</bdi>" in text


def test_gold_of_an_unlabelled_split_is_never_shown(tmp_path: Path) -> None:
    secret = {"labels": ["Secret"]}
    lines = [line(), line(1, "test", gold=secret)]
    unknown = line(2, "test")
    del unknown["gold"]
    text = page(tmp_path, [*lines, unknown], unlabelled_splits=["test"])
    assert "Secret" not in text
    assert text.count("gold: <bdi>") == 1
    assert "Right: 1 of the 1 with known gold." in text


def test_texts_are_data(tmp_path: Path) -> None:
    hostile = {"labels": [HOSTILE]}
    notes = [
        {"knowledge": [{"id": HOSTILE, "text": HOSTILE, HOSTILE: HOSTILE, "similarity": 1.5}], "dropped_knowledge": 0},
        {"thought": HOSTILE, HOSTILE: HOSTILE, "shares": {HOSTILE: 0.5}},
    ]
    asked = [
        call(HOSTILE, HOSTILE, instruction=HOSTILE),
        {"prompt": HOSTILE, "completions": [HOSTILE], "loglikelihoods": [-1.0], "tokens": [HOSTILE, None]},
    ]
    text = page(
        tmp_path,
        [line(id=HOSTILE, text=HOSTILE, date=HOSTILE, gold=hostile, prediction=hostile, calls=asked, notes=notes)],
    )
    assert "<script" not in text
    assert "<|" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\u2028]", text)
    plain = html.unescape(text)
    assert plain.count('<script>alert("x")</script> <|im_end|> \\u0000\\u001b[31m\\u202e\\u000d\\u2028 & \'"') >= 15


def test_half_a_surrogate_pair_and_broken_lines_do_not_end_a_report(tmp_path: Path) -> None:
    broken = ["{", "[1]", '{"split": "dev"}', '{"split": "dev", "id": "a", "calls": 3}', '{"split": "dev", "id']
    text = page(tmp_path, [line(text="a \ud800 b"), *broken])
    assert "a \\ud800 b" in text
    assert "dev: 1 of 1 texts" in text
    assert "5 lines of the file cannot be read" in text


def test_a_transcript_of_an_earlier_version(tmp_path: Path) -> None:
    text = page(tmp_path, [{"split": "dev", "id": "1", "calls": [call("the prompt")]}])
    assert "the prompt" in text
    assert "run again to see them here" in text
    assert "Predicted" not in text


def test_shared_beginnings_are_folded(tmp_path: Path) -> None:
    later = [call(f"{PREAMBLE}other"), call(f"{PREAMBLE}words 0 and more"), call("short")]
    text = page(tmp_path, [line(calls=[*line()["calls"], *later]), line(1)])
    assert text.count(PREAMBLE) == 2, "the first prompt of each text has it, folded"
    assert text.count("<details><summary>the beginning") == 2
    assert (
        text.count(f'first {len(PREAMBLE)} characters of the prompt are those of <a class="link" href="#t1-c1">') == 2
    )
    assert '<div class="text panel">words 0 and more</div>' in text
    assert '<div class="text panel">short</div>' in text


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (PREAMBLE, PREAMBLE, len(PREAMBLE)),
        (PREAMBLE + "a", PREAMBLE + "b", len(PREAMBLE)),
        ("x" * 500, "x" * 500, 0),
        ("a\n", "a\n", 0),
        ("", PREAMBLE, 0),
        ("b" + PREAMBLE, PREAMBLE, 0),
    ],
)
def test_what_two_prompts_share_ends_with_a_line(one: str, other: str, shared: int) -> None:
    assert shared_beginning(one, other) == shared_beginning(other, one) == shared


def test_log_likelihoods_samples_and_answers_from_disk(tmp_path: Path) -> None:
    calls = [
        {
            "prompt": "p",
            "completions": [" yes", " no"],
            "loglikelihoods": [-2.5, -0.125],
            "tokens": [9, 2],
            "seconds": 1,
        },
        call(temperature=0.7, seed=11),
        call(tokens=[None, None], kept=True, requests=1, kept_requests=1),
        call(kept=False, requests=5, kept_requests=2),
    ]
    text = page(tmp_path, [line(calls=calls)])
    assert "<td><bdi> yes</bdi></td><td>-2.500</td>" in text
    assert "<td><bdi> no</bdi></td><td><strong>-0.125</strong></td>" in text
    assert "sampled at temperature 0.7, seed 11" in text
    assert "unknown + unknown tokens · 0.250 s · answered from disk" in text
    assert "2 of 5 requests answered from disk" in text


def test_what_was_retrieved_stands_before_the_calls_and_thoughts_after(tmp_path: Path) -> None:
    notes = [
        {"thought": "hm, a thought"},
        {"demonstrations": [{"id": "t7", "date": "2020-01-02", "similarity": 0.75}], "dropped_demonstrations": 2},
        {
            "knowledge": [
                {"id": "slang.md:3", "title": "Stonks", "date": "2021-02-03", "text": "up", "similarity": 3.25}
            ]
        },
        {
            "nodes": [{"node": 1, "parent": 0, "thought": "first", "value": 0.5, "expanded": True}],
            "mine": {"a": [1, 2]},
        },
        {"foreign": [1, {"x": None}], "empty": [], "nothing": None},
    ]
    text = page(tmp_path, [line(notes=notes)])
    places = [text.index(f"<h3>{word}") for word in ("Demonstrations in", "Entries of")]
    places += [text.index('id="t1-c1"'), text.index("hm, a thought"), text.index("Thoughts of the tree")]
    assert places == sorted(places)
    for cells in (["t7", "2020-01-02", "0.75"], ["slang.md:3", "Stonks", "2021-02-03", "up", "3.25"], ["a", "1, 2"]):
        assert "<tr>" + "".join(f"<td><bdi>{cell}</bdi></td>" for cell in cells) + "</tr>" in text


def test_ids_alone_are_one_line_and_nothing_left_out_is_not_mentioned(tmp_path: Path) -> None:
    ids = {"demonstrations": [{"id": "t1"}, {"id": "t2"}]}
    text = page(tmp_path, [line(notes=[ids | {"dropped_demonstrations": 0}])])
    assert '<div class="text panel">t1, t2</div>' in text
    assert "<h3>Demonstrations left out</h3>" not in text
    text = page(tmp_path, [line(notes=[ids | {"dropped_demonstrations": 3}])])
    assert '<h3>Demonstrations left out</h3>\n<div class="text panel">3</div>' in text


def one(folder: Path, **limits: int) -> tuple[Transcripts, str]:
    """A study's only run with transcripts, read within limits, and its page."""
    (found,) = found_transcripts(view_of(study([prompted()])), folder)
    read(found, folder, (), **limits)
    return found, render(found, "it")


def test_a_page_is_bounded_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    few, many = [line(i, "dev") for i in range(3)], [line(i, "test") for i in range(30)]
    written(tmp_path, [*few, *many])
    found, text = one(tmp_path, texts=10)
    assert [(t.split, t.id) for t in found.texts] == [(e["split"], e["id"]) for e in (*few, *many[:7])]
    assert "dev: 3 of 3 texts; test: 7 of 30 texts." in text
    assert "leaves out 23 texts" in text
    assert (found.total, text.count("<article")) == (33, 10)
    assert "leaves out" not in one(tmp_path)[1]


def test_long_prompts_leave_out_texts_and_characters(tmp_path: Path) -> None:
    long = "x" * (CHARACTERS + 1000)
    written(tmp_path, [line(i, calls=[call(long)] * (CALLS + 5)) for i in range(4)])
    found, text = one(tmp_path, size=3 * CALLS * CHARACTERS)
    assert len(found.texts) == 2
    assert "(1,000 more characters in transcripts.jsonl)" in text
    assert "5 more calls are in the file." in text
    assert len(text) < 4 * CALLS * CHARACTERS


def test_the_report_tells_what_prompts_held_and_where_transcripts_lie(write_study: Write) -> None:
    folder = write_study(study([prompted("a", seed=0), prompted("A b", seed=1), prompted("a-b", seed=2), run("lora")]))
    entry = {"id": "s:1", "title": "Stonks", "date": "2021-02-03", "text": "up"}
    shown = [{"demonstrations": [{"id": "t1"}, {"id": "t2"}]}]
    written(folder, [line(notes=[*shown, {"knowledge": [entry]}]), line(1, notes=shown)], "a")
    written(folder, [line()], "A b")
    written(folder, [line()], "a-b")
    text, elements = opened(write_report(folder))
    links = [value for name, value in elements.attributes if name == "href" and value and "transcripts" in value]
    assert links == ["transcripts-a.html", "transcripts-A-b.html", "transcripts-a-b-2.html"]
    row = re.sub(r"\s*<[^>]*>\s*", "|", text[text.index("What prompted runs were") :])
    assert "|2.00||0.50||s:1 2021-02-03 &#34;Stonks&#34; (1)||read||a/transcripts.jsonl|" in row.replace("|||", "||")
    for link in links:
        opened(folder / str(link))


def test_a_study_without_transcripts_has_no_such_table(write_study: Write) -> None:
    text, _ = page_of(write_study(study([prompted(), run("lora")])))
    assert "What prompted runs were" not in text
