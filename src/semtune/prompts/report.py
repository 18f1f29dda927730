"""The prompt of the original experiment: `<text> <tech:> <labels, comma delimited>`.

Trained as next-token prediction with an end-of-sequence token after the labels (the tokenizer adds it). Where no label
applies the completion is "No technique" (for other tasks too: marker and words are the report's), since an empty
completion would be indistinguishable from a model that failed to answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from semtune.contracts import AnswerGrammar, Parsed, PromptParts
from semtune.prompts.label_list import LabelList
from semtune.records import Example, TargetKind, TargetSpace
from semtune.records.targets import LABEL_KINDS

MARKER = " <tech:>"
NONE = "No technique"
SEPARATOR = ", "


class ReportPrompt:
    """`<text> <tech:> <labels>`; labels in the task's fixed order, whatever order the data has."""

    name = "report"
    target_kinds: ClassVar[frozenset[TargetKind]] = LABEL_KINDS

    @dataclass(frozen=True, slots=True)
    class Settings:
        """This prompt has no options."""

    def __init__(self, space: TargetSpace, settings: Settings | None = None) -> None:
        """Raises OptionError for labels whose list could be read in two ways."""
        self._list = LabelList(space, SEPARATOR, _none_text(space.labels))

    def encode(self, example: Example) -> PromptParts:
        """The parts of `example`; white space at the text's ends is dropped, inside it is kept as it is."""
        completion = None if example.labels is None else " " + self._list.write(example.labels)
        return PromptParts(prefix="", text=example.text.strip(), suffix=MARKER, completion=completion)

    def parse(self, completion: str) -> Parsed:
        """Labels of a completion, and whether all of it was a valid answer."""
        return self._list.read(completion)

    def grammar(self) -> AnswerGrammar:
        """The completions that `parse` accepts, for constrained decoding."""
        return AnswerGrammar(
            start=" ",
            items=self._list.labels,
            separator=SEPARATOR,
            none=self._list.none,
            single=self._list.single,
        )


def _none_text(labels: Sequence[str]) -> str:
    """The words for "no label applies", lengthened until they are no label themselves."""
    none = NONE
    while any(label.strip() == none for label in labels):
        none += " at all"
    return none
