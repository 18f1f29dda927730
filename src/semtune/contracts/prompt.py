"""What a prompt offers: the text of an example, and a completion parsed back into a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from semtune.records import Example, Target, TargetKind, TargetSpace


@dataclass(frozen=True, slots=True)
class PromptParts:
    """The text of an example as a model reads it: `prefix + text + suffix`, after which it generates `completion`.

    When an example has too many tokens only `text` is cut, so that the marker in `suffix` is never lost.
    """

    prefix: str
    text: str
    suffix: str
    completion: str | None
    """None: the example has no target."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The target that a prompt parsed from a completion."""

    target: Target | None
    """None: nothing could be read."""
    ok: bool
    """Whether the whole completion was a valid answer."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of what could be read."""
        return () if self.target is None else self.target.labels


@dataclass(frozen=True, slots=True)
class AnswerGrammar:
    """The language of valid completions: `start`, then `none`, or items joined by `separator`; then `end`.

    Items are in the given order, each at most once; where `single`, exactly one item and never `none`.
    """

    start: str
    items: tuple[str, ...]
    separator: str
    none: str
    single: bool
    end: str = ""
    """What stands between the answer and end-of-sequence: the line break that ends the answers of demonstrations."""


class Prompt(Protocol):
    """Text of an example and back; pure text, no tokens. Constructed as `PromptClass(space, settings)`."""

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]]
    """The kinds of target that the prompt can write and parse."""
    Settings: ClassVar[type[Any]]
    """A frozen dataclass with the prompt's own options; it may have no fields."""

    def __init__(self, space: TargetSpace, settings: Any) -> None: ...

    def encode(self, example: Example) -> PromptParts:
        """The parts of `example`; its target becomes the completion."""
        ...

    def parse(self, completion: str) -> Parsed:
        """A completion as a target of the space's kind, and whether all of it was valid."""
        ...

    def grammar(self) -> AnswerGrammar | None:
        """The completions that `parse` accepts, for constrained decoding; None where no such grammar describes them."""
        ...
