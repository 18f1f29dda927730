"""What a user may choose: the options of a task, of a method, and of a whole run.

Every field is declared with `option`: its help text and unit stand here once, and the command line, study files and
`semtune list … --options` are generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from semtune.records.declare import option

TRAINING, ANSWERS, MACHINE = "Training", "Predicting", "Machine"
METHOD, DATA, SERVER = "Model and method", "Task data", "Server"
"""Panels of `--help`."""
MOST = 2**31 - 1
"""Largest count that an option accepts, so that products of a few counts stay within 64 bits."""
MOST_TOKENS = 2**20
"""Largest number of tokens of a text or completion that an option accepts."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What a user may tell a task. A task that cannot use a given option raises OptionError."""

    data_dir: str | None = option(None, help="Folder with a shared task's own files.")
    data: str | None = option(None, help="Your table: a file, a folder of split files, or hub:owner/name.")
    dev_data: str | None = option(None, help="Your dev split, if it is a file of its own.")
    test_data: str | None = option(None, help="Your test split, if it is a file of its own.")
    text_column: str | None = option(None, help="Column with the text.")
    label_column: str | None = option(None, help="Column with the label or labels.")
    id_column: str | None = option(None, help="Column with ids; row numbers without it.")
    date_column: str | None = option(
        None, help="Column with each text's date, as 2021-03-05, for knowledge that must not be newer; none without it."
    )
    split_column: str | None = option(
        None, help="Column that says train, dev (or validation) or test of each row; else the rows are split at random."
    )
    label_separator: str | None = option(
        None,
        help="What separates several labels in one cell (multi-label); tab, newline and space by name. A cell that is "
        "a list needs none.",
    )
    labels: tuple[str, ...] | None = option(
        None,
        help="The label set, comma separated, names that hold commas in double quotes (or a JSON list); inferred from "
        "all labelled splits without it.",
    )
    encoding: str = option("utf-8", help="Encoding of your text files, such as utf-16 or cp1252.")
    separator: str | None = option(
        None, help="What separates the columns of your CSV or TSV, such as ; or | or tab; found out without it."
    )
    quoting: Literal["auto", "csv", "backslash", "none"] = option(
        "auto", help='What "quotes" in your CSV or TSV mean: csv (they enclose a cell, doubled inside it), backslash '
        "(escaped inside it), none (they are characters of the text), auto (found out).",
    )  # fmt: skip
    split_seed: int = option(
        0, at_least=0, below=2**63, help="Seed of the split into train, dev and test, where your data is one file."
    )
    dev_fraction: float = option(
        0.1, above=0, below=1, help="Share of the rows that become dev, where there is no dev split."
    )
    test_fraction: float = option(
        0.2, at_least=0, below=1, help="Share of the rows that become test, where there is no test split; 0: none."
    )


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """The options that every method has. A method with more of them derives its own frozen dataclass from this one.

    A preset is an instance; what a user gives replaces single fields of it.
    """

    precision: str = option(
        "auto",
        help="Precision of the base weights: auto (bf16 where the machine multiplies it natively, else fp32), fp32, "
        "bf16, fp64, or a quantisation (see `semtune list quantizations`).",
    )
    learning_rate: float = option(5e-4, above=0, help="Peak learning rate, reached after the warm-up.")
    weight_decay: float = option(0.0, at_least=0, below=1, help="Decoupled weight decay.")
    master_weights: bool = option(False, help="Keep fp32 master copies of trained bf16 weights in the optimizer.")

    @property
    def last_blocks_apart(self) -> int:
        """How many blocks at the end of the decoder are treated otherwise than those before; a plan traces them all."""
        return 0


@dataclass(frozen=True, slots=True)
class LowRankSettings(MethodSettings):
    """Options of methods that add low-rank products to linear layers.

    They stand here and not beside those methods because the command line offers them by name, and its help must not
    import torch.
    """

    rank: int = option(16, at_least=1, at_most=MOST, help="Rank of the adapters.")
    alpha: float = option(32.0, above=0, help="The low-rank product is scaled by alpha / rank (see scaling).")
    dropout: float = option(
        0.0, at_least=0, below=1, help="Probability of dropout on the adapters' input, while training."
    )
    targets: tuple[str, ...] = option(
        ("all-linear",),
        help="Linear layers that carry adapters, comma separated, such as q_proj,v_proj; all-linear is all of the "
        "decoder's.",
    )
    scaling: Literal["standard", "rslora"] = option(
        "standard", help="Scale of the low-rank product: standard (alpha / rank), or rslora (alpha / sqrt(rank))."
    )
    start: Literal["kaiming", "pissa", "loftq", "eva"] = option(
        "kaiming",
        help="Adapters at the start: kaiming (A random, B 0), pissa (the weight's principal part; the base keeps the "
        "rest), loftq (the principal part of what rounding to a 4-bit base lost), or eva (A from the principal "
        "components of the layers' inputs, B 0).",
    )
    loftq_iterations: int = option(
        1, at_least=1, at_most=100, help="Times that start loftq rounds the base and decomposes what was lost."
    )
    svd_iterations: int = option(
        16, at_least=0, at_most=1000,
        help="Power iterations of the randomised SVD of the starts pissa, loftq and (4 at most) eva; 0: the exact, "
        "slower SVD.",
    )  # fmt: skip
    eva_batches: int = option(8, unit="batches", at_least=1, at_most=MOST, help="Batches that start eva looks at.")
    lora_plus_ratio: float = option(
        1.0, above=0, help="LoRA+: the learning rate of B over that of A; the paper advises 16, and a lower rate of A."
    )
    freeze_a: bool = option(False, help="LoRA-FA: train B alone, so that backward needs no input of the layers.")


@dataclass(frozen=True, slots=True)
class CommonReadoutOptions:
    """Readout options that the command line and study files offer by name; None: not given."""

    loss_on: Literal["completion", "all"] | None = option(
        None, help="Tokens that the loss is summed over: the completion's, or all (as preset report)."
    )
    max_new_tokens: int | None = option(
        None, unit="tokens", at_least=1, at_most=MOST_TOKENS, help="Longest completion when generating."
    )


TUNING_OPTIONS = frozenset(
    {"epochs", "batch_size", "accumulation_steps", "max_length", "warmup_fraction", "max_grad_norm", "patience"}
    | {"optimizer", "fused_update", "fused_clip", "predict_batch_size", "activation_checkpointing"}
)
"""Fields of a RunSpec that say how a model is tuned, so that they have no effect on one that only answers prompts."""

ENDPOINT_OPTIONS = frozenset(
    {"endpoint_api", "requests_in_flight", "endpoint_retries", "timeout_seconds", "endpoint_cache"}
    | {"api_key_variable", "prices"}
)
"""Fields of a RunSpec that have an effect beside `endpoint` alone."""
LOCAL_MODEL_OPTIONS = frozenset({"revision", "prepack", "offload_bytes", "trust_remote_code", "device", "precision"})
"""Options of a model in this machine's memory, without effect on one behind an endpoint."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything needed to run again.

    `specs.resolve` completes the option mappings: afterwards `method_options` has a value for every field of the
    method's `Settings`, and so have the others for theirs.
    """

    task: str = option(help="The task: see `semtune list tasks`.", panel=DATA)
    approach: str = option(
        "tuned", help="What is fitted: a tuned model, a prompted one, or a baseline without a language model.",
        panel=METHOD,
    )  # fmt: skip
    model: str = option(
        "default", help="default, gemma3-270m, a hub id, a folder, a .gguf file, or shape:NAME.", panel=METHOD
    )
    method: str = option("lora", help="How weights are changed: see `semtune list methods`.", panel=METHOD)
    prompt: str = option("report", help="Text of an example: see `semtune list prompts`.", panel=METHOD)
    readout: str = option("head", help="How predictions are read out: see `semtune list readouts`.", panel=METHOD)
    strategy: str | None = option(None, help="The prompting strategy: see `semtune list strategies`.", panel=METHOD)
    knowledge: str | None = option(
        None, panel=METHOD,
        help="Recent text for prompts (news, slang, a glossary, with dates or without): a text, Markdown, JSON or CSV "
        "file in which a prompting strategy looks up what is near to a text.",
    )  # fmt: skip
    baseline: str | None = option(None, help="The baseline: see `semtune list baselines`.", panel=METHOD)
    preset: str = option(
        "default", panel=METHOD,
        help="default, or report (a course report of 2024: its prompt, readout, loss, epochs and method settings); any "
        "other option that is given stands above it.",
    )  # fmt: skip
    seed: int = option(
        0, at_least=0, below=2**63, help="Seed of adapters, dropout and the order of texts.", panel=TRAINING
    )
    task_options: TaskOptions = option(default_factory=TaskOptions, help="Where the data is and what it looks like.")
    fold: str | None = option(
        None, panel=DATA,
        help="Cross-validation: 1/3 joins train and dev, makes three parts, and takes the first as dev and the others "
        "as train; nothing of test is predicted.",
    )  # fmt: skip
    allow_overlap: bool = option(False, help="Go on where many test texts are also in another split.", panel=DATA)
    epochs: int = option(3, at_least=1, at_most=MOST, help="Passes over the training data.", panel=TRAINING)
    batch_size: int = option(8, unit="texts", at_least=1, at_most=MOST, help="Texts per micro-batch.", panel=TRAINING)
    accumulation_steps: int = option(
        1, at_least=1, at_most=MOST, help="Micro-batches per optimizer step.", panel=TRAINING
    )
    max_length: int = option(
        512, unit="tokens", at_least=8, at_most=MOST_TOKENS, panel=TRAINING,
        help="Tokens of prompt and completion together; longer texts are cut at their end, markers and labels never.",
    )  # fmt: skip
    warmup_fraction: float = option(
        0.1, at_least=0, at_most=1, help="Share of the steps in which the learning rate rises.", panel=TRAINING
    )
    max_grad_norm: float = option(1.0, above=0, help="Gradients are clipped to this norm.", panel=TRAINING)
    patience: int | None = option(
        None, unit="epochs", at_least=1, at_most=MOST, panel=TRAINING,
        help="Stop after so many epochs without a better dev score; without it all epochs run.",
    )  # fmt: skip
    optimizer: str = option(
        "adamw", panel=TRAINING,
        help="How gradients become updates: adamw, adamw-8bit (a quarter of its state), paged-adamw, adafactor, lion, "
        "apollo, mezo (no gradients); see `semtune list optimizers`.",
    )  # fmt: skip
    fused_update: bool = option(
        False, panel=TRAINING,
        help="Update each weight within the backward, as soon as its gradient is there, so that no two need be kept.",
    )  # fmt: skip
    fused_clip: Literal["tensor", "total"] = option(
        "tensor", panel=TRAINING,
        help="What --fused-update clips: each gradient by itself (tensor), or all together, for a forward and a "
        "backward more (total).",
    )  # fmt: skip
    predict_batch_size: int = option(
        20, unit="texts", at_least=1, at_most=MOST, help="Texts per batch when predicting.", panel=ANSWERS
    )
    method_options: Mapping[str, Any] = option(
        default_factory=dict, panel=METHOD,
        help="Any other option of the method, as NAME=VALUE: see `semtune list methods --options`.",
    )  # fmt: skip
    readout_options: Mapping[str, Any] = option(
        default_factory=dict, panel=ANSWERS,
        help="Any other option of the readout, as NAME=VALUE: see `semtune list readouts --options`.",
    )  # fmt: skip
    prompt_options: Mapping[str, Any] = option(
        default_factory=dict, panel=ANSWERS,
        help="An option of the prompt, as NAME=VALUE: see `semtune list prompts --options`.",
    )  # fmt: skip
    strategy_options: Mapping[str, Any] = option(
        default_factory=dict,
        panel=ANSWERS,
        help="An option of the strategy, as NAME=VALUE: see `semtune list strategies --options`.",
    )
    optimizer_options: Mapping[str, Any] = option(
        default_factory=dict, panel=TRAINING,
        help="An option of the optimizer, as NAME=VALUE: see `semtune list optimizers --options`.",
    )  # fmt: skip
    endpoint: str | None = option(
        None, panel=SERVER,
        help="URL of a server that speaks the OpenAI-compatible protocol, such as http://localhost:8000/v1, for the "
        "approach prompted; --model is then the server's name of its model.",
    )  # fmt: skip
    endpoint_api: Literal["chat", "completions"] = option(
        "chat", panel=SERVER,
        help="Which of the server's interfaces is asked: chat (messages), or completions (plain text, which "
        "ranking labels by log-likelihood needs).",
    )  # fmt: skip
    requests_in_flight: int = option(
        4, unit="requests", at_least=1, at_most=1024, help="Most requests that wait for the server.", panel=SERVER
    )
    endpoint_retries: int = option(
        6, at_least=0, at_most=100, panel=SERVER,
        help="Times that a request is repeated after a lost connection, a timeout or status 408, 409, 429 or 5xx; the "
        "pauses double.",
    )  # fmt: skip
    timeout_seconds: float = option(
        120.0, unit="seconds", above=0, at_most=86400, help="Longest wait for one answer of the server.", panel=SERVER
    )
    endpoint_cache: bool = option(
        True, panel=SERVER, help="Keep the server's answers in the cache folder, and use those that are kept there."
    )
    api_key_variable: str = option(
        "OPENAI_API_KEY", help="Environment variable with the server's key, if it wants one.", panel=SERVER
    )
    prices: str | None = option(
        None, panel=SERVER,
        help="YAML file with the price of a million tokens, in and out, by model, so that results say what they cost.",
    )  # fmt: skip
    threads: int | None = option(
        None, at_least=1, at_most=1024, help="CPU threads; OMP_NUM_THREADS or all cores without it.", panel=MACHINE
    )
    prepack: bool | None = option(
        None, panel=MACHINE,
        help="Keep frozen bf16 weights in the layout that a CPU multiplies fastest, twice their bytes; without it: "
        "where that is little of the memory.",
    )  # fmt: skip
    activation_checkpointing: bool = option(
        False, panel=MACHINE, old_flags=("recompute",),
        help="Keep only each block's input and compute the block again in backward: less memory, more time.",
    )  # fmt: skip
    offload_bytes: int = option(
        0, unit="bytes", at_least=0, at_most=2**63 - 1, panel=MACHINE, old_flags=("stream-gb",),
        help="Frozen weights that wait in main memory and come to the GPU for each product, where it is too small.",
    )  # fmt: skip
    device: str = option(
        "auto", help="auto (CUDA where there is a GPU), cpu, cuda, or mps (Apple's GPU).", panel=MACHINE
    )
    trust_remote_code: bool = option(
        False, panel=MACHINE, per_call=True,
        help="Run code that comes with the model, in this call; off unless you trust its author.",
    )  # fmt: skip
    revision: str | None = option(
        None, panel=METHOD,
        help="Branch, tag or commit of a hub model; a run records the commit and predicts with the same one.",
    )  # fmt: skip
