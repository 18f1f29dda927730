"""`--labels` names any label, also one that holds commas or quotation marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from semtune.cli.app import app
from semtune.errors import OptionError
from semtune.records import RunSpec


class Stopped(Exception):  # noqa: N818
    """Raised in place of running."""


@pytest.fixture
def labels_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[str, ...]]:
    """The label set that `semtune tune --labels TEXT` would run with."""
    specs: list[RunSpec] = []

    def stop(spec: RunSpec, *_: object, **__: object) -> Any:
        specs.append(spec)
        raise Stopped

    monkeypatch.setattr("semtune.cli.tune._run", stop)

    def tune(text: str) -> tuple[str, ...]:
        with pytest.raises(Stopped):
            app(["tune", "--task", "table", "--data", "x.csv", "--out", "run", "--labels", text], standalone_mode=False)
        return tuple(specs[-1].task_options.labels or ())

    return tune


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("good, bad", ("good", "bad")),
        ('"Appeal, to fear",Doubt', ("Appeal, to fear", "Doubt")),
        ('Doubt, "Obfuscation, vagueness, Confusion"', ("Doubt", "Obfuscation, vagueness, Confusion")),
        ('"6"" pipe, bent",b', ('6" pipe, bent', "b")),
        ('6" pipe,b', ('6" pipe', "b")),
        ('["a, b", "c"]', ("a, b", "c")),
        ("[a],[b]", ("[a]", "[b]")),
        ("[0, 1]", ("0", "1")),
        ('[1.10, "a, b", 1e3]', ("1.10", "a, b", "1e3")),
        ("a,,b,", ("a", "b")),
    ],
)  # fmt: skip
def test_labels_with_commas(text: str, labels: tuple[str, ...], labels_of: Callable[[str], tuple[str, ...]]) -> None:
    assert labels_of(text) == labels


@pytest.mark.parametrize("text", ['"a, b', '"a"b,c', "a\nb,c"])
def test_what_is_no_list_is_one_sentence(text: str) -> None:
    arguments = ["tune", "--task", "table", "--data", "x.csv", "--out", "run", "--labels", text]
    with pytest.raises(OptionError, match=r"^--labels cannot be read as a list .*in double quotes"):
        app(arguments, standalone_mode=False)
