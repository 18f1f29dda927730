"""Texts as data in a prompt: no text can forge what semtune itself writes.

The tokenizer spells out the names of special tokens in texts. Here, in every text that is put into a prompt (the one
asked about, demonstrations, knowledge), each line after the first is indented and the prompt's own marker is broken by
a space. So a line that begins with "Text:", and a marker that an answer follows, come from semtune alone.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from semtune.contracts import Prompt, PromptParts
from semtune.records import Example

TEXT = "Text: "
END = "\n"
"""Ends the answers of demonstrations, and so the answer that is decoded behind them."""
_LINE_BREAKS = re.compile("\\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\\s*")
_INDENTED = "\n  "


def as_data(text: str, markers: Sequence[str]) -> str:
    """`text` with lines after the first indented, blank ones dropped, and each of `markers` broken by a space."""
    text = _LINE_BREAKS.sub(_INDENTED, text.strip())
    for marker in markers:
        pattern = re.compile(f"({re.escape(marker[0])})({re.escape(marker[1:])})", re.IGNORECASE)
        replacement = r"\1 \2" if len(marker) > 1 else " "
        while pattern.search(text):
            text = pattern.sub(replacement, text)
    return text


def markers_of(prompt: Prompt) -> tuple[str, ...]:
    """What the prompt itself puts around a text."""
    parts = prompt.encode(Example("", "x", None))
    return tuple(marker for marker in (parts.prefix.strip(), parts.suffix.strip()) if marker)


def asked(prompt: Prompt, example: Example) -> PromptParts:
    """The parts of `example`, its text as data and its target not read."""
    return prompt.encode(Example(example.id, as_data(example.text, markers_of(prompt)), None))


def demonstrated(prompt: Prompt, example: Example) -> str:
    """A labelled example as it stands before the text that is asked about: text, marker, answer, a line break."""
    parts = prompt.encode(dataclasses.replace(example, text=as_data(example.text, markers_of(prompt))))
    return f"{TEXT}{parts.prefix}{parts.text}{parts.suffix}{parts.completion}{END}"
