"""`semtune predict`: predictions for new texts from a tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtune.cli import options as o
from semtune.errors import OptionError
from semtune.runtime.imports import heavy_imports
from semtune.runtime.streams import printable

if TYPE_CHECKING:
    from semtune.records import Prediction, Target


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder that `semtune tune` wrote.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to label.")] = None,
    file: Annotated[Path | None, typer.Option(help="A UTF-8 file with one text a line.")] = None,
    trust_remote_code: o.Trust = False,
    json: o.Json = False,
) -> int:
    """Label texts with a tuned model; with probabilities where the readout gives them."""
    given = list(texts or [])
    if file is not None:
        given += o.read_lines(file)
    if not given:
        raise OptionError("Give a text, or a file of texts with --file.")
    blank = next((i for i, text in enumerate(given, start=1) if not text.strip()), None)
    if blank is not None:
        raise OptionError(f"Text {blank} is empty; give it some words.")
    from semtune.progress import RunBar

    with RunBar() as bar:
        bar.on_phase(f"loading {run}", None)
        with heavy_imports():
            from semtune.runs.load import load_run
        from semtune.records import Example

        tuned = load_run(run, trust_remote_code=trust_remote_code)
        bar.on_phase("predicting", len(given))
        examples = [Example(str(i), text, None) for i, text in enumerate(given)]
        predictions = tuned.predict(examples, bar.on_done)
    if json:
        o.print_json(
            [
                {"text": text, **_plain(p.output), "probabilities": dict(p.probabilities or {}) or None}
                for text, p in zip(given, predictions, strict=True)
            ]
        )
        return 0
    for text, p in zip(given, predictions, strict=True):
        o.show(f"{printable(' '.join(text.split()))}\t{printable(_shown(text, p))}")
    return 0


def _plain(output: Target) -> dict[str, Any]:
    """A prediction for --json; "text" is the given text there, so a free text comes under "output"."""
    from semtune.records import to_plain

    values: dict[str, Any] = to_plain(output)
    return {"output" if key == "text" else key: value for key, value in values.items()}


def _shown(text: str, prediction: Prediction) -> str:
    """A prediction on one line: labels with their probability, spans with their text, or a free text."""
    from semtune.records import FreeText, Spans

    output, chances = prediction.output, prediction.probabilities
    if isinstance(output, FreeText):
        return " ".join(output.text.split()) or "(none)"
    if isinstance(output, Spans):
        parts = [f"{span.label}: {' '.join(text[span.start : span.end].split())}" for span in output.spans]
    else:
        parts = [f"{label} ({chances[label]:.2f})" if chances else label for label in output.labels]
    return "; ".join(parts) or "(none)"
