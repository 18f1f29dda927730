"""The prompt of the original experiment: `<text> <tech:> <labels, comma delimited>`.

Trained as next-token prediction with an end-of-sequence token after the labels (the tokenizer adds it). That no technique
applies is said with words, "No technique" (for other tasks too: the marker and the words are the report's): an empty
completion would be indistinguishable from a model that failed to answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from semtune.contracts import AnswerGrammar, AnswerKind, Parsed, PromptParts
from semtune.prompts.label_list import LabelList
from semtune.records import Example

MARKER = " <tech:>"
NONE = "No technique"
SEPARATOR = ", "


class ReportPrompt:
    """`<text> <tech:> <labels>`; labels in the task's fixed order, whatever order the data has."""

    name = "report"

    def __init__(self, labels: Sequence[str], answer: AnswerKind) -> None:
        self._list = LabelList(labels, SEPARATOR, _none_text(labels), single=answer == "single_label")

    def encode(self, example: Example) -> PromptParts:
        """The parts of `example`; white space at the text's ends is dropped, inside it is kept as it is."""
        completion = None if example.labels is None else " " + self._list.write(example.labels)
        return PromptParts(prefix="", text=example.text.strip(), suffix=MARKER, completion=completion)

    def parse(self, completion: str) -> Parsed:
        """Labels of a completion, and whether all of it was a valid answer."""
        return self._list.read(completion)

    def grammar(self) -> AnswerGrammar:
        """The completions that `parse` accepts, for decoding that can say nothing else."""
        return AnswerGrammar(
            start=" ",
            items=self._list.labels,
            separator=SEPARATOR,
            none=self._list.none,
            single=self._list.single,
        )


def _none_text(labels: Sequence[str]) -> str:
    """A way of saying "none" that is not itself a label."""
    none = NONE
    while any(label.strip() == none for label in labels):
        none += " at all"
    return none
