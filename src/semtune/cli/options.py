"""Options that several commands share, and how they become records."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from semtune.errors import DataError
from semtune.records import TaskOptions

Task = Annotated[str, typer.Option(help="The task: see `semtune list tasks`.")]
Model = Annotated[str, typer.Option(help="default, a hub id, a folder, a .gguf file, or shape:NAME.")]
Prompt = Annotated[str, typer.Option(help="Text of an example: see `semtune list prompts`.")]
Readout = Annotated[str, typer.Option(help="How labels come out: see `semtune list readouts`.")]
Preset = Annotated[str, typer.Option(help="default, or report (the original experiment's settings).")]
Epochs = Annotated[int, typer.Option(help="Passes over the training data.")]
BatchSize = Annotated[int, typer.Option(help="Texts per micro-batch.")]
AccumulationSteps = Annotated[int, typer.Option(help="Micro-batches per optimizer step.")]
Rank = Annotated[int | None, typer.Option(help="Rank of the adapters.")]
Targets = Annotated[str | None, typer.Option(help="Linear layers with adapters, comma separated, or all-linear.")]
Precision = Annotated[
    str | None, typer.Option(help="Base weights: compute, fp32, bf16 or nf4; the preset's without it.")
]
MasterWeights = Annotated[bool | None, typer.Option(help="Keep fp32 copies of trained bf16 weights in the optimizer.")]
Recompute = Annotated[
    bool, typer.Option(help="Keep only each block's input and compute the rest again: less memory, slower.")
]
Optimizer = Annotated[str, typer.Option(help="adamw, or adamw-8bit: its moments in 8 bits, a quarter of the memory.")]
LossOn = Annotated[str, typer.Option(help="completion, or all (the original recipe).")]
PredictBatchSize = Annotated[int, typer.Option(help="Texts per batch when predicting.")]
MaxNewTokens = Annotated[int, typer.Option(help="Longest completion when generating.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; all cores without it.")]
TrustRemoteCode = Annotated[bool, typer.Option(help="Run code that comes with the model. Off, and rightly.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on the last line of standard output.")]
DataDir = Annotated[str | None, typer.Option(help="Folder with a shared task's own files.")]
Data = Annotated[str | None, typer.Option(help="Your table: a file, a folder of split files, or hub:owner/name.")]
DevData = Annotated[str | None, typer.Option(help="Your dev split, if it is a file of its own.")]
TestData = Annotated[str | None, typer.Option(help="Your test split, if it is a file of its own.")]
TextColumn = Annotated[str | None, typer.Option(help="Column with the text.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the label or labels.")]
IdColumn = Annotated[str | None, typer.Option(help="Column with ids; row numbers without it.")]
LabelSeparator = Annotated[str | None, typer.Option(help="What separates several labels in one cell (multi-label).")]
Labels = Annotated[str | None, typer.Option(help="The label set, comma separated; inferred from the data without it.")]
Encoding = Annotated[str, typer.Option(help="Encoding of your text files.")]


def task_options(
    *,
    data_dir: str | None = None,
    data: str | None = None,
    dev_data: str | None = None,
    test_data: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    label_separator: str | None = None,
    labels: str | None = None,
    encoding: str = "utf-8",
) -> TaskOptions:
    """The record behind the task options."""
    return TaskOptions(
        data_dir=data_dir,
        data=data,
        dev_data=dev_data,
        test_data=test_data,
        text_column=text_column,
        label_column=label_column,
        id_column=id_column,
        label_separator=label_separator,
        labels=split_names(labels),
        encoding=encoding,
    )


def split_names(text: str | None) -> tuple[str, ...] | None:
    """ "a, b" -> ("a", "b"); None stays None."""
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip())


def print_json(value: Any) -> None:
    """The one JSON document of a command with --json."""
    sys.stdout.flush()
    print(json.dumps(value, ensure_ascii=False), flush=True)


def say(text: str) -> None:
    """A line for the reader; never on standard output, which belongs to results."""
    print(text, file=sys.stderr, flush=True)


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a UTF-8 file. Raises DataError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise DataError(f"{path} is empty; it should hold one text a line.")
    return texts


@contextlib.contextmanager
def heavy_imports() -> Iterator[None]:
    """Around imports of torch and transformers: without the garbage collector, which finds nothing there.

    It costs a fifth of their time (3.9 against 3.1 s), as every module adds objects that it looks at again and again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
