"""`semtune predict`: predictions for new texts from a tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from semtune.cli import options as o
from semtune.errors import OptionError
from semtune.runtime.imports import heavy_imports
from semtune.runtime.streams import on_one_line, printable

if TYPE_CHECKING:
    from semtune.records import Prediction, Target


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder that `semtune tune` wrote.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to label.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file with one text a line, or a table (CSV, JSON lines, Parquet, …).")
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(help="Column with the text, where --file is a table; as in the run's own table without it."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of --file.")] = "utf-8",
    separator: Annotated[str | None, typer.Option(help="What separates the columns of --file; found out.")] = None,
    quoting: Annotated[
        str,
        typer.Option(
            help="What quotes in --file mean, where it is a CSV or TSV: as for `semtune tune`; auto: as in the run's "
            "own table, or found out."
        ),
    ] = "auto",
    trust_remote_code: o.Trust = False,
    json: o.Json = False,
) -> int:
    """Label texts with a tuned model; with probabilities where the readout gives them."""
    given = _checked(texts or [])
    _check_are_no_files(given)
    if file is not None:
        from semtune.records import TaskOptions
        from semtune.specs import record_from
        from semtune.tasks.text_file import read_texts

        options = {"text_column": text_column, "encoding": encoding, "separator": separator, "quoting": quoting}
        own = _own_table(run)
        given_options = record_from(TaskOptions, options, "the command line")
        found, notes = read_texts(
            file, given_options, own.text_columns, own_separators=own.separators, own_quoting=own.quoting
        )
        given += found
        for note in notes:
            o.say(note)
    elif text_column or separator or encoding != "utf-8" or quoting != "auto":
        raise OptionError(
            "--text-column, --separator, --encoding and --quoting are about --file; give one, or leave them out."
        )
    if not given:
        raise OptionError("Give a text, or a file of texts with --file.")
    from semtune.progress import RunBar

    with RunBar() as bar:
        bar.on_phase(f"loading {run}", None)
        with heavy_imports():
            from semtune.runs.cut import cut_texts
            from semtune.runs.load import load_run
        from semtune.records import Example

        tuned = load_run(run, trust_remote_code=trust_remote_code)
        examples = [Example(str(i), text, None) for i, text in enumerate(given) if text]
        bar.on_phase("predicting", len(examples))
        predictions = {int(p.id): p for p in tuned.predict(examples, bar.on_done)}
    cut = cut_texts(tuned, examples)
    if cut is not None:
        o.say(cut.sentence("texts"))
    if json:
        # A blank text keeps its place, so that an item is a row of the file.
        nothing = {key: None for p in [*predictions.values()][:1] for key in _plain(p.output)}
        o.print_json([_row(text, predictions.get(i), nothing) for i, text in enumerate(given)])
        return 0
    for i, text in enumerate(given):
        # A blank line keeps its place, so that a line of the output is a line of the file.
        shown = printable(_shown(text, predictions[i])) if i in predictions else ""
        o.show(f"{printable(' '.join(text.split()))}\t{shown}")
    return 0


class _OwnTable(NamedTuple):
    """How the table was read on which a run was tuned."""

    text_columns: tuple[str, ...]
    """Usual names of its column of texts."""
    separators: tuple[str, ...] = ()
    """What separates the columns of a .txt table; () where the run's table was none."""
    quoting: Literal["auto", "csv", "backslash", "none"] = "auto"
    """What quotes mean, as the user said."""


def _own_table(run: Path) -> _OwnTable:
    from semtune.runs.folder import RunFolder
    from semtune.specs import read_spec
    from semtune.tasks.dialect import checked_separator
    from semtune.tasks.header import TEXT_COLUMNS
    from semtune.tasks.separated import SEPARATORS
    from semtune.tasks.split_files import are_txt_tables

    file = RunFolder.current(run).spec
    if not file.exists():
        return _OwnTable(TEXT_COLUMNS)
    own = read_spec(file).task_options
    columns = TEXT_COLUMNS if own.text_column is None else (own.text_column, *TEXT_COLUMNS)
    separators = SEPARATORS if own.separator is None else (checked_separator(own.separator),)
    return _OwnTable(columns, separators if are_txt_tables(own) else (), own.quoting)


def _checked(texts: list[str]) -> list[str]:
    """The texts of the command line. Raises OptionError: a blank one, or one that is no valid text."""
    from semtune.tasks.characters import is_blank

    for number, text in enumerate(texts, start=1):
        if is_blank(text):
            raise OptionError(f"Text {number} is empty; give it some words.")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # bytes that this terminal's encoding cannot read
            raise OptionError(
                f"Text {number} holds characters that are no valid text; give it in a UTF-8 file with --file."
            ) from error
    return list(texts)


def _check_are_no_files(texts: list[str]) -> None:
    """Raises OptionError for a text that names a file with an ending: --file was forgotten."""
    for text in texts:
        try:
            is_file = bool(Path(text).suffix) and Path(text).is_file()
        except (OSError, ValueError):  # too long for a path, or with a null character
            continue
        if is_file:
            raise OptionError(f"{text} is a file; give --file {text} to label the texts in it.")


def _row(text: str, prediction: Prediction | None, nothing: dict[str, None]) -> dict[str, Any]:
    """An item of --json; `nothing` stands for the output where there is no prediction."""
    if prediction is None:
        return {"text": text, **nothing, "probabilities": None}
    return {"text": text, **_plain(prediction.output), "probabilities": dict(prediction.probabilities or {}) or None}


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
        parts = [f"{on_one_line(span.label)}: {' '.join(text[span.start : span.end].split())}" for span in output.spans]
    else:
        names = {label: on_one_line(label) for label in output.labels}
        parts = [f"{name} ({chances[label]:.2f})" if chances else name for label, name in names.items()]
    return "; ".join(parts) or "(none)"
