"""Steps on a GPU: semtune's training loop, and PEFT on transformers' model in a plain loop with torch's fused AdamW.

The plain loop leaves out the Trainer's own work, in the peers' favour. Both get the same texts: semtune in its own
order, which groups them by length; PEFT at random, as the Trainer does by default, and in semtune's order ("grouped").
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.contestants.common import RECIPE, Settings, as_batches, read_data

WARM_UP, TIMED = 4, 16


def _texts(settings: Settings, vocabulary: int) -> list[tuple[list[int], int]]:
    return [([i % vocabulary for i in t["ids"]], t["prompt_length"]) for t in read_data(settings.work).texts]


def _batches(lengths: Sequence[int], settings: Settings, *, grouped: bool) -> list[list[int]]:
    """The steps that are run: evenly spaced over one epoch's, by size; the first ones warm up."""
    import random

    from semtune.training.sampler import epoch_batches

    from .common import spread

    if grouped:
        all_batches = epoch_batches(lengths, settings.batch_size, settings.seed, 0)
        batches = [list(b) for b in all_batches if len(b) == settings.batch_size]
    else:
        order = list(range(len(lengths)))
        random.Random(settings.seed).shuffle(order)
        batches = as_batches(order, settings.batch_size)
    timed = spread(batches, lambda b: sum(lengths[i] for i in b), TIMED, settings.seed)
    largest = max(batches, key=lambda b: sum(lengths[i] for i in b))
    return [largest, *timed[: WARM_UP - 1], *timed]


def _report(tokens: Sequence[int], seconds: Sequence[float]) -> dict[str, Any]:
    import torch

    return {
        "tokens": list(tokens[WARM_UP:]), "step_seconds": list(seconds[WARM_UP:]),
        "warm_up_seconds": list(seconds[:WARM_UP]),
        "tokens_per_second": sum(tokens[WARM_UP:]) / sum(seconds[WARM_UP:]),
        "allocated_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved(),
    }  # fmt: skip


def _timed(step: Callable[[list[int]], None], batches: Sequence[list[int]], lengths: Sequence[int]) -> dict[str, Any]:
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for batch in batches:
        torch.cuda.synchronize()
        started = time.perf_counter()
        step(batch)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return _report([sum(lengths[i] for i in b) for b in batches], seconds)


def _our_step(settings: Settings) -> tuple[Callable[[list[int]], None], list[int]]:
    from benchmarks.contestants.ours import build
    from semtune.contracts import TokenizedExample
    from semtune.training.loop import optimizer_step
    from semtune.training.schedule import Schedule

    data = read_data(settings.work)
    tuned = build(settings, data)
    texts = [
        TokenizedExample(str(n), tuple(ids), prompt, None)
        for n, (ids, prompt) in enumerate(_texts(settings, tuned.loaded.tokenizer.vocab_size))
    ]
    optimizer = tuned.optimizer_choice.make(tuned.groups(), Schedule(WARM_UP + TIMED, 0.1))
    tuned.loaded.model.train()
    max_norm = float(RECIPE["max_grad_norm"])
    return (
        lambda batch: optimizer_step(tuned.readout, optimizer, [[texts[i] for i in batch]], max_norm) and None,
        data.lengths(),
    )


def ours(settings: Settings) -> dict[str, Any]:
    """semtune's steps in its own order."""
    step, lengths = _our_step(settings)
    return _timed(step, _batches(lengths, settings, grouped=True), lengths)


def _peft_model(settings: Settings) -> Any:
    """transformers' model of the shape on the GPU in bf16 with PEFT's adapters; 4-bit layers are bitsandbytes'."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from benchmarks.contestants.peft_trainer import adapter_config
    from semtune.models.sources.published import shape_config

    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(
            shape_config(settings.model.removeprefix("shape:")), dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    if settings.variant == "qlora":
        _quantize(model)
    if settings.variant == "full":
        return model
    return get_peft_model(model, adapter_config(dora=settings.variant == "dora"))


def _quantize(model: Any) -> None:
    import bitsandbytes
    import torch
    from torch import nn

    for path, linear in list(model.model.named_modules()):
        if isinstance(linear, nn.Linear):
            layer = bitsandbytes.nn.Linear4bit(
                linear.in_features, linear.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4",
                compress_statistics=True, device="meta",
            )  # fmt: skip
            weight = linear.weight.detach().cpu()
            layer.weight = bitsandbytes.nn.Params4bit(
                weight, requires_grad=False, quant_type="nf4", compress_statistics=True
            )
            model.model.set_submodule(path, layer.to("cuda"))


def peft(settings: Settings, *, grouped: bool = False) -> dict[str, Any]:
    """Steps of PEFT with padding, in random order or in semtune's."""
    import torch

    model = _peft_model(settings).train()
    texts, lengths = _texts(settings, model.config.vocab_size), read_data(settings.work).lengths()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=float(RECIPE["learning_rate"]), fused=True)

    def step(batch: list[int]) -> None:
        longest = max(len(texts[i][0]) for i in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, (tokens, prompt) in enumerate(texts[i] for i in batch):
            ids[row, : len(tokens)], mask[row, : len(tokens)] = torch.tensor(tokens), 1
            labels[row, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
        inputs = {"input_ids": ids.cuda(), "attention_mask": mask.cuda(), "labels": labels.cuda()}
        model(**inputs, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, float(RECIPE["max_grad_norm"]))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return _timed(step, _batches(lengths, settings, grouped=grouped), lengths)


def peft_grouped(settings: Settings) -> dict[str, Any]:
    """PEFT in semtune's order."""
    return peft(settings, grouped=True)


STACKS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "semtune": ours, "peft": peft, "peft-grouped": peft_grouped,
}  # fmt: skip


def profiled(settings: Settings) -> dict[str, Any]:
    """Of 4 steps of one batch: host and device milliseconds, launches, waits, and the longest operations."""
    from torch.profiler import ProfilerActivity, profile

    step, lengths = _our_step(settings)
    batch = _batches(lengths, settings, grouped=True)[WARM_UP]
    for _ in range(3):
        step(batch)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        for _ in range(4):
            step(batch)
    events = watched.key_averages()
    by_device = sorted(events, key=lambda e: -e.self_device_time_total)[:25]
    by_host = sorted(events, key=lambda e: -e.self_cpu_time_total)[:40]
    return {
        "tokens": sum(lengths[i] for i in batch),
        "device_ms": sum(e.self_device_time_total for e in events) / 4e3,
        "host_ms": sum(e.self_cpu_time_total for e in events) / 4e3,
        "by_device": [[e.key[:90], e.self_device_time_total / 4e3, e.count / 4] for e in by_device],
        "by_host": [[e.key[:60], e.self_cpu_time_total / 4e3, e.count / 4] for e in by_host],
    }
