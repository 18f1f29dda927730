"""A prompted model: model × strategy × prompt. Weights do not change; every model call is recorded in a transcript."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from semtune.approaches.base_identity import check_identity, write_identity
from semtune.approaches.base_model import prepare_model
from semtune.approaches.no_model import NoModel
from semtune.approaches.prompt_counts import PromptCounts
from semtune.approaches.recording import RecordingGenerator
from semtune.approaches.transcript import transcript_line
from semtune.approaches.usage import with_calls
from semtune.contracts import (
    AnswerGrammar,
    Constraint,
    FitFigures,
    FitWatch,
    IndexingStrategy,
    LoadedModel,
    Prompt,
    ReadingStrategy,
    Strategy,
    StrategyGenerator,
    TaskContext,
    ThresholdStrategy,
    uses_model,
)
from semtune.generation.engine import Engine
from semtune.generation.generator import Generator, QueuedGenerator
from semtune.generation.interleaving import Wait, interleave
from semtune.measure.clock import synchronised_seconds
from semtune.measure.machine import total_memory_bytes
from semtune.models.devices import resolve_device
from semtune.models.loading import load
from semtune.nn.linear import total_numel
from semtune.records import TUNING_OPTIONS, Example, Prediction, RunSpec, Usage
from semtune.registry import PROMPTS, STRATEGIES
from semtune.specs import prompt_settings, strategy_settings
from semtune.specs.precision import AUTO
from semtune.specs.serves import check_serves
from semtune.specs.settings import PRECISION

TRANSCRIPTS = "transcripts.jsonl"
TEXTS_IN_FLIGHT = (32, 128)
"""Examples that are worked on at once, on a CPU and on a GPU: more hardly make the matrix products faster."""
CACHE_SHARE = 8
"""Keys and values take at most this part of the device's memory: one eighth."""


class Prompted:
    """The approach "prompted"; `contracts.Approach`."""

    uses: ClassVar[frozenset[str]] = frozenset({"model", "strategy", "prompt", "endpoint"})
    ignores: ClassVar[frozenset[str]] = TUNING_OPTIONS | {"method", "readout"}
    kept_in: ClassVar[str] = "fitted"
    trainable_parameters: int | None = 0

    def __new__(cls, spec: RunSpec, context: TaskContext) -> Prompted:
        """The subclass that asks a server where the spec has an endpoint."""
        if spec.endpoint is not None:
            from semtune.approaches.prompted_endpoint import PromptedEndpoint

            cls = PromptedEndpoint
        return super().__new__(cls)

    def __init__(self, spec: RunSpec, context: TaskContext) -> None:
        """Raises OptionError for a strategy or prompt that does not support the task's kind of target."""
        self.spec, self.context = spec, context
        strategy_class = STRATEGIES.get(self.name)
        check_serves(context.space.kind, "strategy", self.name, strategy_class.target_kinds)
        prompt_class = PROMPTS.get(spec.prompt)
        check_serves(context.space.kind, "prompt", spec.prompt, prompt_class.target_kinds)
        prompt: Prompt = prompt_class(context.space, prompt_settings(spec))
        self.strategy: Strategy = strategy_class(context, prompt, strategy_settings(spec))
        self._loaded: LoadedModel | None = None
        self._counts = PromptCounts()
        self._transcripts: list[dict[str, Any]] = []
        self._limit = 0
        self._usage = Usage()

    @property
    def loaded(self) -> LoadedModel:
        """The model. Raises RuntimeError before `load`."""
        if self._loaded is None:
            raise RuntimeError("call load before the model is used")
        return self._loaded

    @property
    def name(self) -> str:
        """The strategy."""
        return str(self.spec.strategy)

    @property
    def notes(self) -> tuple[str, ...]:
        """The loaded model's notes, e.g. that its weights are random, and what prompts cite and leave out."""
        notes = self.loaded.notes if uses_model(self.strategy) else ("no language model was asked",)
        return (*notes, *self._read_notes(), *self._counts.sentences())

    def _read_files(self) -> None:
        """Let the strategy read files of the user's own. Raises DataError, OptionError."""
        if isinstance(self.strategy, ReadingStrategy):
            self.strategy.read()

    def _read_notes(self) -> tuple[str, ...]:
        """What reading files of the user's own left out or converted."""
        return self.strategy.notes if isinstance(self.strategy, ReadingStrategy) else ()

    @property
    def plannable(self) -> bool:
        """Whether the strategy asks the model."""
        return uses_model(self.strategy)

    @property
    def device(self) -> str:
        """The type of the device that `spec.device` resolves to here."""
        return str(resolve_device(self.spec.device))

    @property
    def cut_tokens(self) -> Mapping[str, int]:
        """Example id -> tokens of its text that were cut, in the prompt of which most was cut."""
        return self.loaded.tokenizer.cut_tokens if uses_model(self.strategy) else {}

    @property
    def cut_limit(self) -> tuple[str, int]:
        """The limit that the strategy gave with its last prompt."""
        return "the strategy's limit of", self._limit

    @property
    def fit_figures(self) -> FitFigures:
        """What was asked so far; nothing is trained."""
        return FitFigures(usage=self._usage if self._usage.texts else None)

    @property
    def total_parameters(self) -> int | None:
        """Number of scalars of the model; tied weights count once. None: the strategy asks no model."""
        if not uses_model(self.strategy):
            return None
        return total_numel(self.loaded.model)

    def prepare(self, on_phase: Callable[[str], None]) -> None:
        """Read the user's files; download and convert the model, where the strategy uses it.

        Raises DataError, OptionError, ModelError.
        """
        self._read_files()
        if not uses_model(self.strategy):
            return
        prepare_model(self.spec, on_phase)

    def load(self) -> None:
        """Load the model, freeze it, and prepack its weights, where the strategy uses it. Raises ModelError."""
        if not uses_model(self.strategy):
            return
        s = self.spec
        loaded = load(
            s.model,
            precision=s.method_options.get(PRECISION, AUTO),
            seed=s.seed,
            device=s.device,
            trust_remote_code=s.trust_remote_code,
            revision=s.revision,
            offload_bytes=s.offload_bytes,
            frozen=True,
        )
        loaded.model.requires_grad_(False).eval()
        loaded.prepack_frozen(s.prepack, memory_bytes=total_memory_bytes(), backward=False)
        self._loaded = loaded

    def fit(self, train: Sequence[Example], dev: Sequence[Example], watch: FitWatch) -> None:
        """Let the strategy read the training examples; where it has a threshold, choose that on train and dev.

        A run of one fold chooses it on train alone, so that its part of dev is held out from all that is chosen.
        """
        self.strategy.fit(train)
        for note in self._read_notes():  # some need the texts: which knowledge is never held back
            for observer in watch.observers:
                observer.say(note)
        if isinstance(self.strategy, IndexingStrategy):
            self.strategy.index(self._for_indexing() if uses_model(self.strategy) else NoModel())
        if not isinstance(self.strategy, ThresholdStrategy):
            return
        chosen = self.strategy.threshold_examples([*train, *dev] if self.spec.fold is None else train)
        if chosen:
            rows = [p.probabilities or {} for p in self.predict(chosen)]
            probabilities = np.array([[row[label] for label in self.context.labels] for row in rows])
            self.strategy.set_threshold(watch.choose_threshold(chosen, probabilities))
            self._counts = PromptCounts()

    def _for_indexing(self) -> StrategyGenerator:
        """The generator with which a strategy computes embeddings of the training examples, outside the clock."""
        return RecordingGenerator(self.loaded, Generator(self.loaded), self.device)

    def predict(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`; their transcripts replace those of the call before."""
        self._transcripts = []
        if not uses_model(self.strategy):
            finished: Iterable[tuple[int, Answered]] = (
                (i, self._answer_without_model(e)) for i, e in enumerate(examples)
            )
            return self._gathered(examples, finished, progress)
        self.loaded.tokenizer.cut_tokens.clear()
        engine = Engine(self.loaded, _cache_bytes(self.loaded.device), lambda: synchronised_seconds(self.device))
        constraints: dict[AnswerGrammar, Constraint] = {}
        functions = (functools.partial(self._answer, example, engine, constraints) for example in examples)
        limit = TEXTS_IN_FLIGHT[self.device.partition(":")[0] == "cuda"]
        with contextlib.closing(interleave(functions, engine.step, limit)) as finished:
            return self._gathered(examples, finished, progress)

    def _gathered(
        self,
        examples: Sequence[Example],
        finished: Iterable[tuple[int, Answered]],
        progress: Callable[[int], None] | None,
    ) -> list[Prediction]:
        """The predictions in the order of `examples`, their transcripts kept; `finished`: in any order."""
        answers: dict[int, Answered] = {}
        for index, answer in finished:
            answers[index] = answer
            self._usage = self._used(answer[1])
            if progress is not None:
                progress(1)
        for index, example in enumerate(examples):
            prediction, recorder = answers[index]
            self._transcripts.append(transcript_line(example, prediction, recorder.calls, recorder.notes))
            self._counts.add(recorder.notes, example.text)
            self._limit = recorder.max_length
        return [answers[index][0] for index in range(len(examples))]

    def _used(self, recorder: Recorder) -> Usage:
        """What was used so far, with one more example."""
        return with_calls(self._usage, recorder.calls)

    def _answer(
        self, example: Example, engine: Engine, constraints: dict[AnswerGrammar, Constraint], wait: Wait
    ) -> tuple[Prediction, RecordingGenerator]:
        """The prediction for one example, and what recorded its calls, which are run with those of other examples."""
        with contextlib.closing(QueuedGenerator(engine, wait)) as generator:
            recorder = RecordingGenerator(
                self.loaded, generator, self.device, clock=lambda: generator.seconds, constraints=constraints
            )
            recorder.example_id = example.id
            return self.strategy.run(example, recorder), recorder

    def _answer_without_model(self, example: Example) -> Answered:
        """The prediction for one example by a strategy that uses no model, and what it noted."""
        recorder = NoModel()
        return self.strategy.run(example, recorder), recorder

    def save(self, folder: Path) -> None:
        """Write what the strategy learnt from the training examples, and which model it asked."""
        folder.mkdir(parents=True, exist_ok=True)
        self.strategy.save(folder)
        if uses_model(self.strategy):
            write_identity(self.loaded, folder)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError, also where the model is another one than then."""
        if uses_model(self.strategy):
            check_identity(self.loaded, folder)
        self.strategy.load(folder)

    def write_extras(self, folder: Path, split: str) -> None:
        """Append to `transcripts.jsonl` one line per example: its split, and what `transcript_line` says.

        A call is {"prompt", "completion", "tokens": [of the prompt, of the completion], "seconds"}. Notes say which
        demonstrations, neighbours and entries of knowledge were retrieved, and how many of them did not fit.
        A server's calls also say how many requests they took, and how many of these were answered from disk
        ("kept_requests"; "kept" where all were).
        """
        with (folder / TRANSCRIPTS).open("a", encoding="utf-8") as file:
            for line in self._transcripts:
                file.write(json.dumps({"split": split, **line}, ensure_ascii=False) + "\n")


def _cache_bytes(device: torch.device) -> int:
    """The bytes that keys and values of all examples in flight, and of what they share, may take together."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // CACHE_SHARE
    return total_memory_bytes() // CACHE_SHARE


class Recorder(Protocol):
    """What a generator recorded of one example, for its transcript."""

    calls: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    max_length: int


Answered = tuple[Prediction, Recorder]
"""A prediction, and what was recorded for its transcript."""
