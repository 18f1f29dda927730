"""Columns of what prompting used."""

from __future__ import annotations

from typing import Any

from semtune.report.tables import speed_table
from semtune.report.view import view_of

from .conftest import run, study
from .test_tables import cell, titles


def prompted(seed: int, **usage: Any) -> dict[str, Any]:
    """A prompted run of 50 texts."""
    known = {"texts": 50, "requests": 50, "prompt_tokens": 5000, "completion_tokens": 200, **usage}
    return run(method="", readout="", approach="prompted", name="zero-shot", model="m", seed=seed, usage=known)


def test_tokens_of_a_text_and_the_cost_of_a_thousand() -> None:
    runs = [
        run(),
        prompted(0, cost=0.01, currency="EUR"),
        prompted(1, prompt_tokens=6000, kept_requests=20, uncounted_requests=3, cost=0.03, currency="EUR"),
    ]
    table = speed_table(view_of(study(runs)))
    assert titles(table)[-3:] == ["Tokens in", "Tokens out", "Cost"]
    assert table.columns[-1].unit == "EUR per 1,000 texts"
    assert cell(table, "zero-shot", "Tokens in").plain == "110 ± 14"
    assert float(cell(table, "zero-shot", "Tokens out").text) == 4
    assert cell(table, "zero-shot", "Cost").text.startswith("0.4")  # the mean of 0.2 and 0.6
    assert cell(table, "lora", "Tokens in").text == "–"
    notes = " ".join(table.footnotes)
    assert "seed 1: 20 of 50 answers were kept from before, so its speed is not the server's." in notes
    assert "seed 1: the server told no tokens of 3 answers, which count as 0." in notes


def test_tables_without_prompting_are_as_they_were() -> None:
    assert titles(speed_table(view_of(study([run()]))))[-1] == "Predicting"
