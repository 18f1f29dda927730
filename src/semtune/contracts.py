"""The Protocols between rooms: what a task, prompt, method, readout, model source and approach must offer.

Standard library only at run time; the torch names are for the type checker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from semtune.records import (
    Example,
    LeaderboardEntry,
    MethodSettings,
    Prediction,
    Scores,
    TaskOptions,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

AnswerKind = Literal["label_set", "single_label"]


class Task(Protocol):
    """Data, label space and the official score. No torch.

    Constructed as `TaskClass(options: TaskOptions)`; construction is cheap, `load` reads the data.
    """

    name: str

    def __init__(self, options: TaskOptions) -> None: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The label space in its one fixed order."""
        ...

    @property
    def answer(self) -> AnswerKind:
        """Whether an answer is a set of labels (possibly empty) or exactly one label."""
        ...

    @property
    def leaderboard(self) -> tuple[LeaderboardEntry, ...]:
        """Published results on the test split, best first; empty where there are none."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of scores on this task must know."""
        ...

    def load(self, split: str) -> list[Example]:
        """The examples of "train", "dev" or "test". Raises DataError."""
        ...

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """The official scores. Raises DataError when gold is unlabelled or the ids differ."""
        ...

    def write_predictions(self, predictions: Sequence[Prediction], path: Path) -> None:
        """Write the task's submission format."""
        ...

    def read_predictions(self, path: Path) -> list[Prediction]:
        """Read and check the submission format. Raises DataError."""
        ...


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


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One example as token ids. `ids[prompt_length:]` is the completion, its end-of-sequence token included."""

    id: str
    ids: tuple[int, ...]
    prompt_length: int
    labels: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer(Protocol):
    """A tokenizer with what training and decoding need of it."""

    eos_id: int
    vocab_size: int

    def encode(self, example: Example, parts: PromptParts, max_length: int, *, completion: bool) -> TokenizedExample:
        """Token ids of the prompt, and of completion + end-of-sequence where `completion`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out."""
        ...

    def token_bytes(self) -> list[bytes | None]:
        """The bytes each token id stands for, as in running text; None for special tokens. (vocab_size,)"""
        ...


class LoadedModel(Protocol):
    """A loaded model with what belongs to it. Methods and readouts change `model` in place."""

    model: nn.Module
    """A causal language model of transformers."""
    tokenizer: Tokenizer
    name: str
    compute_dtype: torch.dtype
    device: torch.device
    hidden_size: int
    notes: tuple[str, ...]
    activation_checkpointing: bool
    """Whether blocks keep only their input for the backward."""

    def decoder_linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        ...

    def prepack_frozen(self, packed: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        """Lay frozen weights out for this machine's products, once all is attached; how many.

        `packed` None: if there is memory to spare, of the machine's `memory_bytes`.
        """
        ...

    def hidden_states(
        self, input_ids: torch.Tensor, packed_batch: Any, places: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The last hidden states of unpadded texts laid end to end: (tokens,) -> (tokens or places, hidden_size).

        `places`: the tokens whose states are wanted, ascending; what only others need is not computed.
        """
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The vocabulary product: (rows, hidden_size) -> (rows, vocab_size)."""
        ...

    def next_token_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Summed cross-entropy of the vocabulary product: (rows, hidden_size) and (rows,) -> scalar, fp32 at least."""
        ...


class Method(Protocol):
    """A way of changing weights. One module-level instance each; state lives in the model, never here."""

    name: str
    presets: Mapping[str, MethodSettings]

    def attach(self, loaded: LoadedModel, settings: MethodSettings) -> None:
        """Freeze what stays and add what is trained; no effect on outputs. Raises TargetError, OptionError."""
        ...

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters this method trains, by name."""
        ...

    def merge(self, model: nn.Module) -> None:
        """Fold what was trained into plain weights, in place. Raises MergeRefusedError."""
        ...

    def save(self, model: nn.Module, folder: Path, settings: MethodSettings, base_model: str) -> None:
        """Write what was trained (adapters in PEFT's file format)."""
        ...

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read what `save` wrote into an attached model. Raises ModelError."""
        ...


class Readout(Protocol):
    """How labels come out of a model: loss and answer together.

    Constructed as `ReadoutClass(loaded, prompt, labels, answer, settings)`, before the method freezes anything.
    """

    name: str

    def prepare(self, train: Sequence[Example]) -> None:
        """Look at the training examples once before training (label frequencies, say)."""
        ...

    def trainable(self) -> dict[str, nn.Parameter]:
        """The readout's own parameters; empty for `generate`."""
        ...

    def learning_rate(self) -> float | None:
        """For the readout's own parameters; None: the method's."""
        ...

    def encode(self, example: Example) -> TokenizedExample:
        """A training example as tokens."""
        ...

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[torch.Tensor, int]:
        """Sum of the batch's loss targets (a scalar with a graph), and how many num_targets it sums.

        The training loop divides by the num_targets of the whole optimizer step, so accumulation over micro-batches equals
        one large batch.
        """
        ...

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """How many loss targets `tokenized` has, without running the model."""
        ...

    def calibrate(self, dev: Sequence[Example]) -> list[Prediction]:
        """Choose what is chosen on dev (a threshold; nothing for most), and answer dev with it."""
        ...

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`; `progress` receives how many more are done."""
        ...

    def save(self, folder: Path) -> None:
        """Write the readout's own parameters and state."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        ...


@dataclass(frozen=True, slots=True)
class ReadoutSettings:
    """What a run tells its readout."""

    max_length: int
    max_new_tokens: int
    predict_batch_size: int
    loss_on: Literal["completion", "all"]
    seed: int


class WeightStream(Protocol):
    """Named tensors one at a time, so that a model is never resident twice."""

    def names(self) -> list[str]: ...

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]: ...


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What a caller may tell a model source."""

    seed: int = 0
    """Of random weights; other sources do not use it."""
    trust_remote_code: bool = False
    """Run Python code that came with the model."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""


@dataclass(frozen=True, slots=True)
class Located:
    """A model found and ready to be read from this machine's disk (or generated)."""

    config: Any
    """transformers' config object."""
    tokenizer_folder: Path
    weights: Callable[[nn.Module], WeightStream]
    """Given the model on the meta device, the stream that fills it."""
    notes: tuple[str, ...] = ()
    """What a reader of results must know."""
    fold_vocabulary: bool = False
    """The tokenizer is borrowed: its ids are folded into the model's vocabulary."""


class ModelSource(Protocol):
    """A place that models come from. Construction is cheap and reads nothing."""

    prefix: str
    """"shape" where its models are called "shape:<name>"; "" where they have names of another form."""
    borrows_tokenizer: bool
    """Whether its models have no tokenizer of their own."""

    def __init__(self, reference: str, options: SourceOptions) -> None: ...

    @classmethod
    def claims(cls, name: str) -> str | None:
        """The `reference` that `name` stands for, or None where it is no model of this source.

        Raises ModelError where it can only be meant for this source and is wrong.
        """
        ...

    def locate(self) -> Located:
        """Find the model, downloading or converting it into the local cache first. Raises ModelError."""
        ...

    def config(self) -> Any:
        """transformers' config, without weights. Raises ModelError."""
        ...

    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer's files; weights are neither downloaded nor converted. Raises ModelError."""
        ...

    def conversion_bytes(self) -> int:
        """Peak bytes of the process that will convert the files before the first run; 0: none. Raises ModelError."""
        ...

    def stored_dtype(self, config: Any) -> torch.dtype:
        """The dtype of the floating-point tensors in the files."""
        ...


class Approach(Protocol):
    """Whatever can be fitted on a task and then predict: the study's axis."""

    name: str

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None: ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]: ...
