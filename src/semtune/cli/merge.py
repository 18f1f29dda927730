"""`semtune merge`: the tuned model of a run as a model folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semtune.cli import options as o


def merge(
    run: Annotated[Path, typer.Argument(help="A run folder, as `semtune tune --out` writes it.")],
    out: Annotated[Path, typer.Option(help="Folder to write the merged model to; new or empty.")],
    dequantize: Annotated[
        bool,
        typer.Option(
            "--dequantize",
            help="Write 4-bit layers as bf16 weights of the same values, in transformers' format. QLoRA and others "
            "over NF4 merge so alone; what qa-lora tuned stays in 4 bits without it, which semtune alone reads.",
        ),
    ] = False,
    trust_remote_code: o.Trust = False,
    json: o.Json = False,
) -> int:
    """Merge what a run has tuned into its base model, and write that as a folder that --model takes."""
    from semtune.runtime.files import expanded
    from semtune.runtime.imports import heavy_imports

    with heavy_imports():
        from semtune.approaches.export import READOUT
        from semtune.runs.merge import merge_run

    folder = expanded(out)
    with_readout = merge_run(run, folder, dequantize=dequantize, trust_remote_code=trust_remote_code)
    if json:
        o.print_json({"model": str(folder), "readout": str(folder / READOUT) if with_readout else None})
        return 0
    o.show(f"{folder}")
    if with_readout:
        o.say(f"the readout's own parameters, which are no part of the language model, are in its folder {READOUT}/")
    return 0
