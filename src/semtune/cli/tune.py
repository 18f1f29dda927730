"""`semtune tune`: one run, from data to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtune.cli import options as o
from semtune.errors import OptionError

if TYPE_CHECKING:
    from semtune.records import RunResult


def tune(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    task: Annotated[str | None, typer.Option(help="The task: see `semtune list tasks`.")] = None,
    model: o.Model = "default",
    method: Annotated[str, typer.Option(help="How weights are changed: see `semtune list methods`.")] = "lora",
    prompt: o.Prompt = "report",
    readout: o.Readout = "head",
    preset: o.Preset = "default",
    epochs: o.Epochs = 3,
    batch_size: o.BatchSize = 8,
    accumulation_steps: o.AccumulationSteps = 1,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate; the preset's without it.")] = None,
    max_length: Annotated[int, typer.Option(help="Tokens of a text with its labels; longer texts are cut.")] = 512,
    rank: o.Rank = None,
    alpha: Annotated[float | None, typer.Option(help="The low-rank product is scaled by alpha / rank.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Dropout before the adapters.")] = None,
    targets: o.Targets = None,
    precision: o.Precision = None,
    master_weights: o.MasterWeights = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW's weight decay.")] = None,
    warmup_fraction: Annotated[float, typer.Option(help="Share of the steps that warm up.")] = 0.1,
    max_grad_norm: Annotated[float, typer.Option(help="Gradients are clipped to this norm.")] = 1.0,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a better dev score.")] = None,
    loss_on: o.LossOn = "completion",
    optimizer: o.Optimizer = "adamw",
    predict_batch_size: o.PredictBatchSize = 20,
    max_new_tokens: o.MaxNewTokens = 64,
    seed: Annotated[int, typer.Option(help="Of adapters, dropout and the order of texts.")] = 0,
    threads: o.Threads = None,
    activation_checkpointing: o.Recompute = False,
    offload_gb: Annotated[
        float, typer.Option(help="GB of frozen weights that wait in main memory, for a GPU that is too small.")
    ] = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    trust_remote_code: o.TrustRemoteCode = False,
    data_dir: o.DataDir = None,
    data: o.Data = None,
    dev_data: o.DevData = None,
    test_data: o.TestData = None,
    text_column: o.TextColumn = None,
    label_column: o.LabelColumn = None,
    id_column: o.IdColumn = None,
    label_separator: o.LabelSeparator = None,
    labels: o.Labels = None,
    encoding: o.Encoding = "utf-8",
    spec: Annotated[
        Path | None, typer.Option(help="Repeat a run from its spec.yaml; all other options are then ignored.")
    ] = None,
    fit: Annotated[
        bool, typer.Option(help="Where the run would not fit, let the plan choose batch, recomputation, precision.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the tuned model that --out holds.")] = False,
    json: o.Json = False,
) -> int:
    """Tune a model on a task, score it, and leave a run folder."""
    from semtune.records import RunSpec
    from semtune.specs.resolve import read_spec, record_from

    if spec is not None:
        run_spec = read_spec(spec)
    elif task is None:
        raise OptionError("Give --task (see `semtune list tasks`), or --spec to repeat a run.")
    else:
        values: dict[str, Any] = {
            "task": task, "model": model, "method": method, "prompt": prompt, "readout": readout, "preset": preset,
            "epochs": epochs, "batch_size": batch_size, "accumulation_steps": accumulation_steps,
            "learning_rate": learning_rate, "max_length": max_length, "rank": rank, "alpha": alpha,
            "dropout": dropout, "targets": o.split_names(targets), "precision": precision,
            "master_weights": master_weights, "weight_decay": weight_decay, "warmup_fraction": warmup_fraction,
            "max_grad_norm": max_grad_norm, "patience": patience, "loss_on": loss_on, "optimizer": optimizer,
            "predict_batch_size": predict_batch_size, "max_new_tokens": max_new_tokens, "seed": seed,
            "threads": threads, "activation_checkpointing": activation_checkpointing, "offload_bytes": round(offload_gb * 1e9),
            "device": device, "trust_remote_code": trust_remote_code,
        }  # fmt: skip
        task_options = o.task_options(
            data_dir=data_dir, data=data, dev_data=dev_data, test_data=test_data, text_column=text_column,
            label_column=label_column, id_column=id_column, label_separator=label_separator, labels=labels,
            encoding=encoding,
        )  # fmt: skip
        run_spec = record_from(RunSpec, {**values, "task_options": task_options}, "the command line")
    result = _run(run_spec, out, overwrite, fit=fit)
    if json:
        from semtune.records import to_plain

        o.print_json(to_plain(result))
    return _tell(result, out, quiet=json)


def _run(run_spec: Any, out: Path, overwrite: bool, *, fit: bool) -> RunResult:
    """Bound memory so that a run which cannot fit fails by itself, then run."""
    from semtune.progress import RunBar
    from semtune.specs.resolve import resolve

    with o.heavy_imports():  # a method brings torch; what comes after it is slower still
        resolved = resolve(run_spec)
    with RunBar() as bar:
        bar.on_phase("starting", None)
        with o.heavy_imports():
            from semtune.measure.machine import available_memory_bytes
            from semtune.measure.memory import resident_bytes
            from semtune.models.loading import resolve_device
            from semtune.plan.requests import fit_to_memory
            from semtune.runs.runner import run
            from semtune.runtime.limits import limit_memory

        plan = None
        if fit:
            bar.on_phase("planning", None)
            run_spec, plan, changed = fit_to_memory(resolved, resident_bytes())
            o.say(f"--fit changed {changed}")
        if resolve_device(run_spec.device).type == "cpu":
            limit_memory(available_memory_bytes() + resident_bytes())
        return run(run_spec, out, bar, overwrite=overwrite, plan=plan)


def _tell(result: RunResult, out: Path, *, quiet: bool) -> int:
    """The result in a few lines, and the exit status: 0, 1 for a run that is not ok, 130 for an interrupted one."""
    if result.status != "ok":
        o.say(f"semtune: {result.status.replace('_', ' ')}: {result.reason}")
        return 130 if (result.reason or "").startswith("interrupted") else 1
    if not quiet:
        for split, scores in result.scores.items():
            chosen = " (it also chose the epoch)" if split == result.selected_on else ""
            typer.echo(f"{split}: micro-F1 {scores.micro_f1:.4f}, macro-F1 {scores.macro_f1:.4f}{chosen}")
        unscored = [p.stem.removeprefix("predictions-") for p in out.glob("predictions-*.json")]
        for split in sorted(set(unscored) - set(result.scores)):
            typer.echo(f"{split}: predicted; it has no gold labels, so it cannot be scored")
        typer.echo(f'the run is in {out}; try: semtune predict {out} "some text"')
    return 0
