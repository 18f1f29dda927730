"""GGUF → a folder in transformers' format, as a program: `python -m semtune.models.gguf_convert FILE FOLDER`.

transformers reads the GGUF file and dequantises it; the result is saved in fp32, in which dequantised values are exact.
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
from semtune.models.meta_model import expected_tensors
from semtune.models.quiet import quiet


def convert(file: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer of the GGUF `file` into the existing `folder`.

    Raises whatever transformers and gguf raise on a file that they cannot read; the program turns it into one line.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parent, name = str(file.parent), file.name  # a file beside it that asks for code of its own is refused
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(parent, gguf_file=name, trust_remote_code=False)
        set_split_rule(tokenizer, *_tokenizer_kind(file))
        model = AutoModelForCausalLM.from_pretrained(
            parent, gguf_file=name, dtype=torch.float32, trust_remote_code=False
        )
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config  # they are plain fp32 weights now
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        # model.save_pretrained refuses: transformers still takes the model for a quantised one.
        tensors = {name: tensor.detach().contiguous() for name, tensor in expected_tensors(model).items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        tokenizer.save_pretrained(folder)


_GPT2_RULE = frozenset({"gpt-2", "phi-2", "exaone4", "mpt", "olmo", "jais"})
_DIGITS_FIRST = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"})
"""Names whose rule is GPT-2's, alone or after each digit is split off: `llm_tokenizer_bpe` in
https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp"""


def _tokenizer_kind(file: Path) -> tuple[str | None, str | None]:
    """The file's `tokenizer.ggml.model` and `tokenizer.ggml.pre`."""
    import gguf

    reader = gguf.GGUFReader(str(file))
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
