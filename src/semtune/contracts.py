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


class Cache(Protocol):
    """What a model keeps of texts that go on: keys and values, or a recurrent model's state. A row is a text."""

    lengths: list[int]
    """Tokens of each text that are in the cache."""

    @property
    def rewindable(self) -> bool:
        """Whether `rewind` works. Speculative decoding needs it: rejected drafts are taken back."""
        ...

    def advance(self, lengths: Sequence[int]) -> None:
        """Count `lengths[i]` more tokens of text i; once a forward, after every layer has stored them."""
        ...

    def rewind(self, lengths: Sequence[int]) -> None:
        """Forget all but the first `lengths[i]` tokens of each text. Raises ValueError where it cannot."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with the texts `rows` alone, in that order; a row may be named more than once."""
        ...

    def join(self, other: Any) -> None:
        """Append the rows of `other`, a cache of the same kind, which must not be used afterwards."""
        ...

    def grow(self, tokens: int) -> None:
        """Take the memory that `tokens` more tokens of every text would take; their values are arbitrary. For plans."""
        ...


class Batch(Protocol):
    """A packed (varlen) batch: which tokens of one row belong to which text. Made by `LoadedModel.pack`."""

    lengths: tuple[int, ...]
    """New tokens of each text."""

    def advance(self) -> None:
        """Count these tokens in the caches."""
        ...


class Architecture(Protocol):
    """What differs between model types. Registered in `registry.ARCHITECTURES` by transformers' `config.model_type`.

    One module-level instance each; state lives in the model and the cache.
    """

    tree_attention: bool
    """Whether `hidden_states` takes trees of continuations behind a shared prefix (`LoadedModel.pack_tree`)."""

    def install(self, model: nn.Module) -> None:
        """Make a loaded model ready for packed batches, in place; parameter names stay. Raises ModelError."""
        ...

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """The decoder's blocks in order: units for hooks, sharding and activation checkpointing."""
        ...

    def attentions(self, model: nn.Module) -> list[nn.Module]:
        """The modules in the blocks that honour a learned prefix set as `attention.prefix`; none where none can."""
        ...

    def linears(self, model: nn.Module) -> dict[str, nn.Module]:
        """The linear layers of the blocks that carry adapters and are quantised, by module path, in order."""
        ...

    def new_cache(self, model: nn.Module, count: int) -> Cache:
        """An empty cache for `count` texts."""
        ...

    def hidden_states(
        self,
        model: nn.Module,
        input_ids: torch.Tensor,
        batch: Any,
        query_indices: Sequence[int] | None = None,
        *,
        checkpointing: bool = False,
    ) -> torch.Tensor:
        """Last hidden states of a packed batch, after the final norm.

        Args:
            input_ids: int64 (tokens,), the new tokens of all texts, one text after the other.
            batch: a `semtune.nn.packed_batch.PackedBatch`. A cache in it is read, extended and advanced.
            query_indices: ascending indices into the row of tokens; None: all tokens.
            checkpointing: whether the backward computes each block's activations again from its input.

        Returns:
            (tokens or query_indices, hidden_size).
        """
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

    @property
    def tree_attention(self) -> bool:
        """Whether `pack_tree` works."""
        ...

    def blocks(self) -> list[nn.Module]:
        """The decoder's blocks in order; each is called as a module in every forward."""
        ...

    def attentions(self) -> list[nn.Module]:
        """The blocks' attention modules in order.

        Each honours a learned prefix: where `attention.prefix` is a module, calling it without arguments gives
        (keys, values), each (kv_heads, prefix_length, head_dim). Every query attends to them, keys are not rotated,
        positions stay as they are, and the cache does not hold them.
        """
        ...

    def linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        ...

    def prepack_frozen(self, packed: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        """Lay frozen weights out for this machine's products, once all is attached; how many.

        `packed` None: if there is memory to spare, of the machine's `memory_bytes`.
        """
        ...

    def new_cache(self, count: int) -> Cache:
        """An empty cache for `count` texts."""
        ...

    def pack(self, texts: Sequence[Sequence[int]], cache: Cache | None = None) -> tuple[torch.Tensor, Batch]:
        """Token ids of all texts in one row, int64 (tokens,), and the batch that says how they divide.

        With a cache, `texts` are the new tokens of the texts in it.
        """
        ...

    def pack_groups(self, groups: Sequence[tuple[Sequence[Sequence[int]], Cache | None]]) -> tuple[torch.Tensor, Batch]:
        """One row of several (texts, cache): decoding requests share a forward with requests in prefill."""
        ...

    def pack_tree(
        self, prefixes: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, Batch, list[tuple[int, ...]]]:
        """Every continuation behind every prefix, as a tree of tokens behind each prefix (tree attention).

        Returns:
            The token ids; the batch, in which a text is a prefix and the nodes of the tree; and for each continuation
            the node of each of its tokens, counted from 0 within the tree.
        """
        ...

    def hidden_states(
        self, input_ids: torch.Tensor, batch: Any, query_indices: Sequence[int] | None = None
    ) -> torch.Tensor:
        """The last hidden states of a packed batch: (tokens,) -> (tokens or query_indices, hidden_size).

        `query_indices`: the tokens whose states are needed, ascending; what only others need is not computed.
        """
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The vocabulary product: (rows, hidden_size) -> (rows, vocab_size)."""
        ...

    def next_token_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Summed cross-entropy of the vocabulary product: (rows, hidden_size) and (rows,) -> scalar, fp32 at least."""
        ...


class Constraint(Protocol):
    """The language that constrained decoding stays inside. A state stands for what one text has generated so far."""

    def start(self) -> Any:
        """The state of a text without generated tokens."""
        ...

    def allowed(self, state: Any) -> Sequence[int]:
        """Token ids that may come next; never empty."""
        ...

    def advance(self, state: Any, token: int) -> Any:
        """The state after `token`, an allowed one other than end-of-sequence."""
        ...


class Generator(Protocol):
    """Text out of a loaded model, for prompting strategies. A prompt or completion is a text or its token ids."""

    def generate(
        self, prompts: Sequence[str | Sequence[int]], max_new_tokens: int, constraint: Constraint | None = None
    ) -> list[str]:
        """The greedy completion of each prompt, special tokens left out; at most `max_new_tokens` tokens each."""
        ...

    def loglikelihood(
        self, prompts: Sequence[str | Sequence[int]], completions: Sequence[str | Sequence[int]]
    ) -> torch.Tensor:
        """log p(completion | prompt) in nats, (prompts, completions). A completion given as text ends with
        end-of-sequence; token ids are taken as they are."""
        ...

    def label_constraint(self, grammar: AnswerGrammar) -> Constraint:
        """The constraint that only valid answers of `grammar` satisfy. Raises ModelError where it cannot be spelt."""
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


class Approach(Protocol):
    """Whatever can be fitted on a task and then predict: the study's axis."""

    name: str

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None: ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]: ...
