"""GGUF → a folder in transformers' format, as a program: `python -m semtune.models.gguf_convert FILE FOLDER`.

transformers reads the GGUF file and dequantises it; the result is saved in fp32, in which dequantised values are exact.
On failure the last line of standard output is {"error": reason} and the exit status is 1.

One thing is put right on the way: transformers gives every GPT-2-like GGUF tokenizer GPT-2's splitting rule, while the
file names the rule in `tokenizer.ggml.pre`; SmolLM splits digits off first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from semtune.errors import first_line
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
        _set_split_rule(tokenizer, _split_rule_name(file))
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


def _split_rule_name(file: Path) -> str | None:
    import gguf

    field = gguf.GGUFReader(str(file)).get_field("tokenizer.ggml.pre")
    return None if field is None else str(field.contents())


def _set_split_rule(tokenizer: Any, rule: str | None) -> None:
    from tokenizers import pre_tokenizers

    if rule == "smollm":
        # The rule of https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/blob/main/tokenizer.json
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )


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
