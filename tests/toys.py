"""A tiny random model with a tokenizer trained here, in fp64, and a few labelled texts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from semtune.contracts import TokenizedExample
from semtune.models.architectures import install
from semtune.models.loaded import TransformersModel
from semtune.models.tokenizer import FastTokenizer
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, LabelSet, SingleLabel, TargetKind, TargetSpace
from semtune.registry import QUANTIZATIONS, READOUTS
from semtune.tasks import scoring

LABELS = ("Doubt", "Obfuscation, Intentional vagueness, Confusion", "Smears", "Thought-terminating cliché", "Slogans")
TEXTS = (
    "Vote for Norbury jam!",
    "no",
    "A café that closes at noon\nis no café at all.",
    "one two three",
    "Why, oh why?",
)
GOLD = (("Doubt",), ("Smears", "Thought-terminating cliché"), (), LABELS, (LABELS[1],))
EXAMPLES = [Example(str(i), text, LabelSet(labels)) for i, (text, labels) in enumerate(zip(TEXTS, GOLD, strict=True))]
ONE_EACH = [Example(str(i), text, SingleLabel(LABELS[i % 3])) for i, text in enumerate(TEXTS)]
VOCABULARY = 340
"""Of the model; the tokenizer's is smaller."""


def byte_level(pad_is_eos: bool = False) -> PreTrainedTokenizerFast:
    """GPT-2's kind; "é" is two tokens, common pieces of the labels are one."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(
        [*TEXTS, " <tech:>", *(f" {a}, {b}" for a, b in itertools.permutations(LABELS, 2))], trainer
    )
    pad = "</s>" if pad_is_eos else "<pad>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token=pad)


def sentence_piece() -> PreTrainedTokenizerFast:
    """Llama-2's kind: "▁" for a space, single characters, and bytes for all others."""
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"DoubtSmearsSlogans,"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys([*pieces, "ou", "▁D", "▁S", ",▁"]))}
    merges = [("o", "u"), ("▁", "D"), ("▁", "S")]
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


def toy_model(seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    """Stock transformers (sdpa); weights large enough for its answers to depend on the text."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=VOCABULARY, initializer_range=0.4, bos_token_id=None, eos_token_id=0, pad_token_id=1,
        tie_word_embeddings=False,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(dtype).eval()


def toy_loaded(
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float64,
    nf4: bool = False,
    precision: str = "fp64",
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> TransformersModel:
    model = toy_model(seed, dtype)
    install(model)
    tokenizer = FastTokenizer(tokenizer or byte_level(), VOCABULARY)
    loaded = TransformersModel(model, tokenizer, "toy", dtype, torch.device("cpu"), 32)
    precision = "nf4" if nf4 else precision
    if precision in QUANTIZATIONS:
        for path, linear in loaded.linears().items():
            model.set_submodule(path, QUANTIZATIONS.get(precision).quantize(linear.weight.detach(), None, dtype))
    return loaded


def toy_readout(
    name: str,
    loaded: TransformersModel,
    *,
    kind: TargetKind = "label_set",
    labels: Sequence[str] = LABELS,
    **changes: object,
):
    """A readout with the report prompt; `changes` are fields of its settings."""
    readout_class, space = READOUTS.get(name), TargetSpace(kind, tuple(labels))
    values = {"max_length": 200, "predict_batch_size": 3, "seed": 0, "max_new_tokens": 12} | changes
    known = {field.name for field in dataclasses.fields(readout_class.Settings)}
    settings = readout_class.Settings(**{key: value for key, value in values.items() if key in known})
    return readout_class(loaded, ReportPrompt(space), space, settings)


def micro_f1_threshold(dev: Sequence[Example], probabilities: np.ndarray) -> float:
    """The threshold that a task of LABELS chooses."""
    return scoring.best_micro_f1_threshold(probabilities, scoring.gold_matrix(dev, LABELS))


def tokenized(readout, examples: Sequence[Example] = EXAMPLES) -> list[TokenizedExample]:
    return [readout.encode(example) for example in examples]


def valid_answers(single: bool) -> dict[str, tuple[str, ...]]:
    """Every completion that is a valid answer over LABELS, by enumeration."""
    if single:
        return {f" {label}": (label,) for label in LABELS}
    chosen = [c for count in range(1, len(LABELS) + 1) for c in itertools.combinations(LABELS, count)]
    return {" No technique": ()} | {" " + ", ".join(c): c for c in chosen}
