"""What prompting strategies share: options, the instruction with the labels, the way of answering, saving it.

A strategy derives from `BaseStrategy` and its options from `StrategySettings`; most implement `run` alone, which writes
the prompt's parts and hands them to `self.answer`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from semtune.contracts import Answer, Prompt, PromptParts, StrategyGenerator, TaskContext
from semtune.records import Example, Prediction, TargetKind, option
from semtune.records.options import MOST, MOST_TOKENS
from semtune.records.targets import LABEL_KINDS, threshold_from
from semtune.registry import ANSWERS, INSTRUCTIONS
from semtune.specs.serves import check_serves
from semtune.strategies._files import read_json, write_json
from semtune.strategies._knowledge import Knowledge
from semtune.strategies._knowledge_entries import KnowledgeEntry
from semtune.strategies._texts import TEXT, as_data, asked, demonstrated, markers_of
from semtune.strategies.instructions import check_instruction, instruction_text

BACKGROUND = "Background for the next text:"
Retrieved = tuple[KnowledgeEntry, float]
"""An entry of knowledge and its similarity to the text."""


@dataclass(frozen=True, slots=True)
class StrategySettings:
    """Options that every strategy has."""

    seed: int = 0
    """The run's."""
    instruction: str = option(
        "question",
        choices=tuple(INSTRUCTIONS),
        help="Wording of the instruction: a name of `semtune list instructions`, or a text of your own.",
    )
    definitions: Literal["with", "without"] = option(
        "with", help="Whether each label stands in the prompt with its definition, where the task has definitions."
    )
    prompt_tokens: int = option(
        2048,
        unit="tokens",
        at_least=8,
        at_most=MOST_TOKENS,
        help="Longest prompt, definitions and thoughts included; demonstrations that exceed it are left out, the "
        "farthest first, then knowledge, and then the text is cut at its end.",
    )
    knowledge: str | None = None
    """The run's: a file, see `_knowledge`."""
    knowledge_entries: int = option(
        3, unit="entries", at_least=1, at_most=100, help="Most entries of --knowledge in a prompt."
    )
    newer_entries: Literal["excluded", "included"] = option(
        "excluded", help="Entries of --knowledge that are newer than the text itself, where both have a date."
    )
    answer: str = option(
        "constrained",
        choices=("constrained", "rank", "yes-no", "free"),
        help="How the answer is read: constrained (only valid answers can be generated), rank (log-likelihood of each "
        "label; sets of labels as yes-no), yes-no (a question for each label), free (any text, then parsed).",
    )
    answer_tokens: int = option(
        64, unit="tokens", at_least=1, at_most=MOST_TOKENS, help="Longest answer where answer is free."
    )
    threshold_texts: int = option(
        200, unit="texts", at_least=1, at_most=MOST,
        help="Texts of train and dev on which the threshold of the answers rank and yes-no is chosen.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Raises UnknownNameError for an answer or instruction that is not registered, before a study starts."""
        ANSWERS.check(self.answer)
        check_instruction(self.instruction)

    @property
    def answer_end(self) -> str:
        """What ends an answer before end-of-sequence: as the prompt's demonstrations end theirs, if it has any."""
        return ""


class BaseStrategy:
    """A strategy that learns nothing from examples except, where its answer has one, a threshold."""

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]] = LABEL_KINDS
    Settings: ClassVar[type[Any]] = StrategySettings
    settings: StrategySettings

    def __init__(self, context: TaskContext, prompt: Prompt, settings: Any) -> None:
        """Raises OptionError for an answer or instruction that does not serve the task or prompt, UnknownNameError."""
        self.prompt, self.settings, self.space = prompt, settings, context.space
        self.definitions: Mapping[str, str] = context.label_definitions if settings.definitions == "with" else {}
        self._instruction = instruction_text(settings.instruction, context.space.kind)
        answer_class = ANSWERS.get(settings.answer)
        check_serves(context.space.kind, ANSWERS.kind, settings.answer, answer_class.target_kinds)
        self.answer: Answer = answer_class(context, prompt, settings)
        self.knowledge: Knowledge | None = None
        self._date_column = context.date_column
        self._date_notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading the knowledge left out or converted, and which of its entries no text's date holds back."""
        return () if self.knowledge is None else (*self.knowledge.notes, *self._date_notes)

    def read(self) -> None:
        """Read and index the knowledge, where there is some. Raises DataError, OptionError."""
        if self.settings.knowledge is not None:
            self.knowledge = Knowledge.read(Path(self.settings.knowledge), self._date_column)

    def fit(self, train: Sequence[Example]) -> None:
        """Read the knowledge, where that has not happened; nothing is learnt from examples."""
        if self.knowledge is None:
            self.read()
        if self.knowledge is not None and self.settings.newer_entries == "excluded":
            dated = any(example.date is not None for example in train)
            self._date_notes = self.knowledge.date_notes(dated_texts=dated)

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """The prediction for one example."""
        raise NotImplementedError

    def threshold_examples(self, labelled: Sequence[Example]) -> list[Example]:
        """Those of `labelled` on which the threshold is chosen, at random by the run's seed; none without one."""
        if not self.answer.chooses_threshold:
            return []
        count = min(self.settings.threshold_texts, len(labelled))
        return random.Random(self.settings.seed).sample(list(labelled), count)

    def set_threshold(self, threshold: float) -> None:
        """Decide by `threshold` from now on."""
        self.answer.threshold = threshold

    def retrieved(self, example: Example) -> list[Retrieved]:
        """The entries of knowledge that are nearest to the text, the most similar first; none without --knowledge."""
        if self.knowledge is None:
            return []
        not_after = example.date if self.settings.newer_entries == "excluded" else None
        return self.knowledge.nearest(example.text, self.settings.knowledge_entries, not_after=not_after)

    def cite(self, found: Sequence[Retrieved], generator: StrategyGenerator, *, kept: int | None = None) -> None:
        """Note in the transcript which entries of knowledge are in the prompt: the first `kept` ones; None: all."""
        if self.knowledge is None:
            return
        cited = [{**entry.plain(), "similarity": round(similarity, 6)} for entry, similarity in found[:kept]]
        generator.note({"knowledge": cited, "dropped_knowledge": len(found) - len(cited)})

    def question(
        self,
        example: Example,
        demonstrations: Sequence[Example] = (),
        knowledge: Sequence[Retrieved] | None = None,
    ) -> PromptParts:
        """The instruction, the labels, demonstrations in their order, knowledge (None: all that is retrieved) and the
        text, never its gold labels; it ends with the prompt's own marker. What all texts share comes first."""
        parts = asked(self.prompt, example)
        shown = "".join(demonstrated(self.prompt, demonstration) for demonstration in demonstrations)
        entries = self.retrieved(example) if knowledge is None else knowledge
        lines = [f"- {as_data(entry.shown(), markers_of(self.prompt))}" for entry, _ in entries]
        background = "\n".join([BACKGROUND, *lines, ""]) if lines else ""
        return dataclasses.replace(parts, prefix=f"{self.preamble()}{shown}{background}{TEXT}{parts.prefix}")

    def preamble(self) -> str:
        """The instruction, and one line a label with its definition."""
        lines = [self._instruction]
        for label in self.space.labels:
            meaning = self.definitions.get(label)
            lines.append(f"- {label}: {meaning}" if meaning else f"- {label}")
        return "\n".join([*lines, "", ""])

    def state(self) -> dict[str, Any]:
        """What predicting needs, as JSON; a subclass adds to it."""
        state: dict[str, Any] = {"label_definitions": dict(self.definitions)}
        if self.answer.chooses_threshold:
            state["threshold"] = self.answer.threshold
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned. Raises KeyError, TypeError, ValueError, AttributeError for another form."""
        self.definitions = {str(k): str(v) for k, v in state["label_definitions"].items()}
        if self.answer.chooses_threshold:
            self.answer.threshold = threshold_from(state["threshold"])

    def save(self, folder: Path) -> None:
        """Write `state` and the knowledge, so that predicting needs neither the task nor the file."""
        write_json(folder / self._file, self.state())
        if self.knowledge is not None:
            self.knowledge.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError, OptionError."""
        read_json(folder / self._file, "the state of a prompt", self.restore)
        if self.settings.knowledge is not None:
            self.knowledge = Knowledge.load(folder)

    @property
    def _file(self) -> str:
        return f"{self.name.replace('-', '_')}.json"
