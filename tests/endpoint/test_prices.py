"""Files of prices: what is wrong in one is said in the form that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.endpoint.prices import read_price
from semtune.errors import SemtuneError


def test_a_price(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_bytes("x-usual: &usual {in: 1, out: 2.5}\ncurrency: EUR\nmodels: {a: *usual}\n".encode("utf-8-sig"))
    price = read_price(str(file), "a")
    assert (price.prompt, price.completion, price.currency) == (1, 2.5, "EUR")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a mapping such as models: {NAME: {in: 0.15, out: 0.60}}"),
        ("- a\n", "must be a mapping such as models: {NAME: {in: 0.15, out: 0.60}}"),
        ("currency: EUR\n", "has no prices; write them as models: {NAME: {in: 0.15, out: 0.60}}"),
        ("models: [a]\n", "has no prices; write them as models: {NAME: {in: 0.15, out: 0.60}}"),
        ("models: {a: 3}\n", "such as {in: 0.15, out: 0.60}"),
        ("curency: EUR\nmodels: {a: {in: 1, out: 1}}\n", 'has an unknown key "curency"; did you mean "currency"'),
        ("models: {a: {in: 1, out: 1, cached: 0.5}}\n", "leave cached out"),
        ("models: {a: {in: 1, out: 1 EUR}}\n", 'out is "1 EUR", and must be a number of at least 0'),
        ("models: {a: {in: -1, out: 1}}\n", "in is -1, and must be a number"),
        ("currency: no\nmodels: {a: {in: 1, out: 1}}\n", "YAML reads no and off as false"),
    ],
)
def test_a_broken_file_shows_the_right_form(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SemtuneError) as caught:
        read_price(str(tmp_path / "prices.yaml"), "a")
    assert said in str(caught.value) and str(tmp_path / "prices.yaml") in str(caught.value)


def test_a_name_that_yaml_reads_as_a_number_is_to_be_quoted(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("models: {4: {in: 1e-1, out: 1}}", encoding="utf-8")
    with pytest.raises(SemtuneError, match='put its name in quotes: "4"'):
        read_price(str(tmp_path / "prices.yaml"), "4")


def test_a_price_in_scientific_notation(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("models: {a: {in: 1e-1, out: 1}}", encoding="utf-8")
    assert read_price(str(tmp_path / "prices.yaml"), "a").prompt == 0.1
