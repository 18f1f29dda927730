"""Zero-shot prompting: the labels with their definitions, then the text; the answer is decoded under a constraint.

The prompt is `instruction, one line a label, the text` in the form of the run's prompt, and only completions that its
grammar accepts can be generated, so no answer fails to parse. There are no probabilities.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from semtune.contracts import AnswerGrammar, Prompt, StrategyGenerator, TaskContext
from semtune.errors import ModelError, OptionError
from semtune.records import Example, Prediction, TargetKind, option
from semtune.records.options import MOST_TOKENS

FILE = "zero_shot.json"
INSTRUCTIONS = {
    "label_set": "Which of these labels apply to the text below? Name those that apply, in this order.",
    "single_label": "Which one of these labels applies to the text below?",
}


class ZeroShot:
    """Registered as "zero-shot"; `contracts.Strategy`."""

    name: ClassVar[str] = "zero-shot"
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"label_set", "single_label"})

    @dataclass(frozen=True, slots=True)
    class Settings:
        """Options of zero-shot prompting."""

        prompt_tokens: int = option(
            2048,
            unit="tokens",
            at_least=8,
            at_most=MOST_TOKENS,
            help="Longest prompt, definitions included; the text of a longer one is cut at its end.",
        )

    def __init__(self, context: TaskContext, prompt: Prompt, settings: Settings) -> None:
        """Raises OptionError for a prompt whose completions have no grammar."""
        self.prompt, self.settings = prompt, settings
        self._space = context.space
        self._definitions: Mapping[str, str] = context.label_definitions
        grammar = prompt.grammar()
        if grammar is None:
            raise OptionError(
                f'The strategy "{self.name}" needs a prompt with a grammar, which "{prompt.name}" does not have; '
                "choose another with --prompt."
            )
        self._grammar = grammar

    def fit(self, train: Sequence[Example]) -> None:
        """Nothing is learnt from examples."""

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """One completion under the prompt's grammar. Raises DataError where the labels alone exceed `max_length`."""
        parts = self.prompt.encode(Example(example.id, example.text, None))
        parts = dataclasses.replace(parts, prefix=self._preamble() + parts.prefix)
        ids = generator.encode(parts, self.settings.prompt_tokens)
        longest = _longest_bytes(self._grammar) + 1
        (completion,) = generator.generate([ids], longest, generator.label_constraint(self._grammar))
        parsed = self.prompt.parse(completion)
        output = self._space.empty() if parsed.target is None else parsed.target
        return Prediction(example.id, output, parsed=parsed.ok, raw=completion)

    def save(self, folder: Path) -> None:
        """Write the definitions, so that predicting needs no task."""
        text = json.dumps({"label_definitions": dict(self._definitions)}, ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        try:
            value = json.loads((folder / FILE).read_text(encoding="utf-8"))
            self._definitions = {str(k): str(v) for k, v in value["label_definitions"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{folder / FILE} does not hold the definitions of a prompt; run it again.") from error

    def _preamble(self) -> str:
        """The instruction and one line a label."""
        lines = [INSTRUCTIONS[self._space.kind]]
        for label in self._space.labels:
            meaning = self._definitions.get(label)
            lines.append(f"- {label}: {meaning}" if meaning else f"- {label}")
        return "\n".join([*lines, "", "Text: "])


def _longest_bytes(grammar: AnswerGrammar) -> int:
    """Bytes of the longest answer. A token stands for one byte at least, so no answer takes more tokens."""
    items = sum(len(item.encode()) + len(grammar.separator.encode()) for item in grammar.items)
    return len(grammar.start.encode()) + max(items, len(grammar.none.encode()))
