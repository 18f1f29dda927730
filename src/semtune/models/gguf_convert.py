"""GGUF → a folder in transformers' format, as a program: `python -m semtune.models.gguf_convert FILE FOLDER`.

Config and tokenizer are transformers' own reading of the file. The weights are dequantised piece by piece
(`gguf_weights`) where the architecture has a tested layout there; else transformers reads them, which holds the whole
model in fp32, and `CONVERSION_FILE` says so. Both save fp32, in which dequantised values are exact, and the same bytes.
On failure the last line of standard output is {"error": reason} and the exit status is 1.

One thing is put right on the way: a GPT-2-like GGUF tokenizer names in `tokenizer.ggml.pre` how it splits a text before
the merges. transformers knows some of these names and gives all others GPT-2's rule; SmolLM, say, splits digits off
first. Names that neither transformers nor this file knows are refused, as their ids would be others than the model
was trained on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from semtune.errors import ModelError, first_line
from semtune.models.gguf_weights import LAYOUTS, GgufWeights, architecture_of
from semtune.models.meta_model import build_meta_model, expected_tensors
from semtune.models.quiet import quiet
from semtune.models.safetensors_stream import write_fp32

CONVERSION_FILE = "gguf-conversion.json"
"""In the converted folder, where there is something to say: {"notes": sentences about the conversion}."""
_WEIGHTS_FILE = "model.safetensors"


def convert(file: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer of the GGUF `file` into the existing `folder`.

    Raises whatever transformers and gguf raise on a file that they cannot read; the program turns it into one line.
    """
    import gguf
    from transformers import AutoConfig, AutoTokenizer

    from semtune.models.gguf_reader import one_reading

    parent, name = str(file.parent), file.name  # a file beside it that asks for code of its own is refused
    with quiet(), one_reading():
        reader = gguf.GGUFReader(str(file))  # transformers asks for the same path
        architecture = architecture_of(reader)
        tokenizer = AutoTokenizer.from_pretrained(parent, gguf_file=name, trust_remote_code=False)
        set_split_rule(tokenizer, *_tokenizer_kind(reader))
        tokenizer.save_pretrained(folder)
        config = AutoConfig.from_pretrained(parent, gguf_file=name, trust_remote_code=False)
        check_positions(reader, architecture, config)
        if architecture in LAYOUTS:
            notes = _stream_weights(file, reader, config, folder)
        else:
            _load_weights(file, folder)
            notes = [
                f'the architecture "{architecture}" has no tested streamed conversion from GGUF; transformers '
                "converted it"
            ]
    if notes:
        (folder / CONVERSION_FILE).write_text(json.dumps({"notes": notes}), encoding="utf-8")


def _stream_weights(file: Path, reader: Any, config: Any, folder: Path) -> list[str]:
    """Write `config` and the weights, a piece at a time; returns notes."""
    import torch

    config.dtype = torch.float32
    model = build_meta_model(config, torch.float32)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    weights = GgufWeights(file, reader, model)
    write_fp32(folder / _WEIGHTS_FILE, weights.shapes, weights.pieces)
    return [f"tensors of the GGUF file that are not used: {', '.join(weights.unused)}"] if weights.unused else []


def check_positions(reader: Any, architecture: str, config: Any) -> None:
    """Raises ModelError where the file scales rotary positions and the config that was read from it does not.

    Llama 3.1 and larger Gemma 3 models do: without it every number they compute is slightly off, and no error shows.
    """
    kind, factor = (reader.get_field(f"{architecture}.rope.scaling.{key}") for key in ("type", "factor"))
    scaled = factor is not None and float(factor.contents()) not in (0.0, 1.0)
    scaled = scaled and (kind is None or kind.contents() != "none")
    scaled = scaled or any(tensor.name.startswith("rope_f") for tensor in reader.tensors)
    if scaled and _rope_types(getattr(config.get_text_config(), "rope_parameters", None) or {}) <= {"default"}:
        raise ModelError(
            "it scales its rotary positions, which transformers leaves out when it reads GGUF; give the model as a "
            "folder in transformers' format"
        )


def _rope_types(parameters: Any) -> set[str]:
    """The kinds of rotary positions in a config's `rope_parameters`, which may have one for each kind of layer."""
    if not isinstance(parameters, dict):
        return set()
    own = {parameters["rope_type"]} if "rope_type" in parameters else set()
    return own.union(*(_rope_types(value) for value in parameters.values()))


def _load_weights(file: Path, folder: Path) -> None:
    """Write config.json and the weights as transformers loads them, all at once."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # they are plain fp32 weights now
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    # model.save_pretrained refuses: transformers still takes the model for a quantised one.
    tensors = {name: tensor.detach().contiguous() for name, tensor in expected_tensors(model).items()}
    save_file(tensors, folder / _WEIGHTS_FILE, metadata={"format": "pt"})


_GPT2_RULE = frozenset({"gpt-2", "phi-2", "exaone4", "mpt", "olmo", "jais"})
_DIGITS_FIRST = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"})
"""Names whose rule is GPT-2's, alone or after each digit is split off: `llm_tokenizer_bpe` in
https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp"""


def _tokenizer_kind(reader: Any) -> tuple[str | None, str | None]:
    """`tokenizer.ggml.model` and `tokenizer.ggml.pre` of the library's reader of a file."""
    fields = [reader.get_field(f"tokenizer.ggml.{key}") for key in ("model", "pre")]
    kind, rule = (None if field is None else str(field.contents()) for field in fields)
    return kind, rule


def set_split_rule(tokenizer: Any, kind: str | None, rule: str | None) -> None:
    """Give a transformers tokenizer that was read from a GGUF file the splitting rule that the file names.

    Args:
        kind: the file's `tokenizer.ggml.model`; only "gpt2" has splitting rules.
        rule: the file's `tokenizer.ggml.pre`.

    Raises ModelError: a rule that is not known, or none is named.
    """
    if kind != "gpt2" or rule in _GPT2_RULE or rule in _known_to_transformers():
        return
    if rule not in _DIGITS_FIRST:
        named = f'of the kind "{rule}"' if rule else "of a kind that the file does not name"
        raise ModelError(
            f"its tokenizer splits texts by a rule {named} (tokenizer.ggml.pre), which neither semtune nor the "
            "installed transformers knows; give the model as a folder with a tokenizer.json"
        )
    from tokenizers import pre_tokenizers

    # The rule of https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/blob/main/tokenizer.json
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _known_to_transformers() -> frozenset[str]:
    """The names in transformers' own table of splitting rules."""
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:  # a version without the table
        return frozenset()
    return frozenset(GGUF_PRE_TOKENIZER_SPLITS)


def main() -> int:
    """The program. Anything that goes wrong while reading a foreign file is reported in one line, never a traceback."""
    file, folder = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        convert(file, folder)
    except Exception as error:  # noqa: BLE001 - a corrupt file can fail anywhere in two foreign libraries
        print(json.dumps({"error": first_line(error)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
