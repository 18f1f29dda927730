"""The approach "prompted" with a model behind a server: strategies ask it over HTTP, several texts at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from semtune.approaches.prompted import Answered, Prompted, Recorder
from semtune.contracts import StrategyGenerator, TaskContext, uses_model
from semtune.endpoint.client import Client
from semtune.endpoint.generator import EndpointGenerator
from semtune.endpoint.prices import Price, read_price
from semtune.endpoint.settings import check_client, settings_of
from semtune.records import Example, Prediction, RunSpec, Usage


class PromptedEndpoint(Prompted):
    """`Prompted` without a model in memory; `contracts.Approach`."""

    trainable_parameters = None

    def __init__(self, spec: RunSpec, context: TaskContext) -> None:
        """Raises OptionError as `Prompted`, and for an endpoint that is no server's URL."""
        super().__init__(spec, context)
        self._settings = settings_of(spec)
        self._price: Price | None = None
        self._cut_tokens: dict[str, int] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Where answers come from, and what semtune cannot know of the model there."""
        return (
            f"{self._settings.model} answers behind {self._settings.url}: which weights it has, and how many, is not "
            "known here, memory is that of the client alone, and its answers are free text that is parsed",
            *self._read_notes(),
            *self._counts.sentences(),
        )

    @property
    def plannable(self) -> bool:
        """The model is in the server's memory."""
        return False

    @property
    def device(self) -> str:
        """The client's own."""
        return "cpu"

    @property
    def cut_tokens(self) -> Mapping[str, int]:
        """Example id -> tokens of its text that were cut, estimated."""
        return self._cut_tokens

    @property
    def total_parameters(self) -> int | None:
        """Not known."""
        return None

    def prepare(self, on_phase: Callable[[str], None]) -> None:
        """Read the prices and the user's files, and check that the client is installed.

        Raises DataError, OptionError, EndpointError.
        """
        check_client()
        self._read_files()
        if self.spec.prices is not None:
            self._price = read_price(self.spec.prices, self.spec.model)

    def load(self) -> None:
        """Nothing is loaded; the server is asked with the first text. Raises EndpointError."""
        check_client()

    def predict(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`, asked for in any order. Raises EndpointError."""
        if not uses_model(self.strategy):
            return super().predict(examples, progress)
        self._transcripts, self._cut_tokens = [], {}
        client = Client(self._settings)
        with ThreadPoolExecutor(self._settings.requests_in_flight, thread_name_prefix="text") as pool, client:
            try:
                return self._gathered(examples, self._answers(examples, pool, client), progress)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # leaving `with client` ends the requests in flight
                raise

    def _answers(
        self, examples: Sequence[Example], pool: ThreadPoolExecutor, client: Client
    ) -> Iterator[tuple[int, Answered]]:
        """The index of each example and its answer, as they come."""
        asked = {}
        for index, example in enumerate(examples):
            generator = EndpointGenerator(client, example.id)
            asked[pool.submit(self.strategy.run, example, generator)] = (index, generator)
        for done in as_completed(asked):
            index, generator = asked[done]
            if generator.cut_tokens:
                self._cut_tokens[examples[index].id] = generator.cut_tokens
            yield index, (done.result(), generator)

    def _for_indexing(self) -> StrategyGenerator:
        """A generator that says that a server shows no hidden states."""
        return EndpointGenerator(Client(self._settings))

    def save(self, folder: Path) -> None:
        """Write what the strategy learnt from the training examples."""
        folder.mkdir(parents=True, exist_ok=True)
        self.strategy.save(folder)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        self.strategy.load(folder)

    def _used(self, recorder: Recorder) -> Usage:
        usage = super()._used(recorder)
        return usage if self._price is None else self._price.of(usage)
