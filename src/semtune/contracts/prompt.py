"""What a prompt offers: the text of an example, and a completion read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from semtune.contracts.task import AnswerKind
from semtune.records import Example


@dataclass(frozen=True, slots=True)
class PromptParts:
    """The text of an example as a model sees it: `prefix + text + suffix`, then `completion` is to be said.

    When a text is too long only `text` is cut, so that the marker in `suffix` is never lost.
    """

    prefix: str
    text: str
    suffix: str
    completion: str | None
    """None: the example is unlabelled."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What could be read from a completion; `ok` is False when any of it was not a valid answer."""

    labels: tuple[str, ...]
    ok: bool


@dataclass(frozen=True, slots=True)
class AnswerGrammar:
    """The language of valid completions: `start`, then `none`, or items joined by `separator`.

    Items are in the given order, each at most once; where `single`, exactly one item and never `none`.
    """

    start: str
    items: tuple[str, ...]
    separator: str
    none: str
    single: bool


class Prompt(Protocol):
    """Text of an example and back; pure text, no tokens. Constructed as `PromptClass(labels, answer)`."""

    name: str

    def __init__(self, labels: Sequence[str], answer: AnswerKind) -> None: ...

    def encode(self, example: Example) -> PromptParts: ...

    def parse(self, completion: str) -> Parsed: ...

    def grammar(self) -> AnswerGrammar: ...
