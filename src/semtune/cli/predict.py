"""`semtune predict`: labels of new texts from a tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semtune.cli import options as o
from semtune.errors import OptionError


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder that `semtune tune` wrote.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to label.")] = None,
    file: Annotated[Path | None, typer.Option(help="A UTF-8 file with one text a line.")] = None,
    json: o.Json = False,
) -> int:
    """Label texts with a tuned model; with probabilities where the readout gives them."""
    wanted = list(texts or [])
    if file is not None:
        wanted += o.read_lines(file)
    if not wanted:
        raise OptionError("Give a text, or a file of texts with --file.")
    blank = next((i for i, text in enumerate(wanted, start=1) if not text.strip()), None)
    if blank is not None:
        raise OptionError(f"Text {blank} is empty; give it some words.")
    from semtune.progress import RunBar

    with RunBar() as bar:
        bar.on_phase(f"loading {run}", None)
        with o.heavy_imports():
            from semtune.runs.load import load_run
        from semtune.records import Example

        tuned = load_run(run)
        bar.on_phase("predicting", len(wanted))
        examples = [Example(str(i), text, None) for i, text in enumerate(wanted)]
        predictions = tuned.predict(examples, bar.on_done)
    if json:
        o.print_json(
            [
                {"text": text, "labels": list(p.labels), "probabilities": dict(p.probabilities or {}) or None}
                for text, p in zip(wanted, predictions, strict=True)
            ]
        )
        return 0
    for text, p in zip(wanted, predictions, strict=True):
        shown = [f"{label} ({p.probabilities[label]:.2f})" if p.probabilities else label for label in p.labels]
        typer.echo(f"{' '.join(text.split())}\t{'; '.join(shown) or '(none)'}")
    return 0
