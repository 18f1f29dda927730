"""Verdicts, spilling and advice, on a toy model and on devices made to measure."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from semtune.approaches.tuned_model import TunedModel
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.meta_model import build_meta_model
from semtune.plan import advice
from semtune.plan.devices import BUS_BYTES_PER_SECOND, CUDA_CONTEXT_BYTES, GIB, Device, parse_device
from semtune.plan.planner import Planner, PlanRequest, fetched_bytes, spill_bytes
from semtune.plan.speed import Rates
from semtune.plan.workload import SPACE, filled_workload
from semtune.specs import with_changes
from tests.plan.conftest import LAYERS, Toy

HERE = Device("this machine", "cpu", 20 * GIB)
RATES = Rates(((1.0, 1e9),), ((1.0, 1e9),), 1e9, 1e9, 1e9, 1e9, 1e-6)


def planner_for(toy: Toy, device: Device, **more: Any) -> Planner:
    request = PlanRequest(
        config=toy.config,
        stored_dtype=torch.bfloat16,
        tokenizer=ApproximateTokenizer(int(toy.config.vocab_size)),
        assemble=lambda spec, loaded: TunedModel(spec, loaded, SPACE),
        workload=lambda spec, readout: filled_workload(readout, spec),
        device=device,
        rates=RATES,
        runtime_bytes=400_000_000,
        machine_bytes=20 * GIB,
    )
    request = dataclasses.replace(request, **more)
    alike = f"{device.kind} {device.native_bf16} {more} {toy.config.to_json_string()}"
    return Planner(request, toy.traced.setdefault(alike, {}))


def room(toy: Toy, spec: Any, share: float, spill: int = 0) -> Device:
    """A card with `share` of the memory that `spec` needs."""
    card = parse_device("12GB", HERE)
    needed = planner_for(toy, card).estimate(spec).highest_bytes
    return dataclasses.replace(card, memory_bytes=int(share * needed), spill_bytes=spill)


def big(toy: Toy) -> Toy:
    """Large enough for tensors to outweigh the context."""
    toy.config.hidden_size, toy.config.intermediate_size, toy.config.head_dim = 1536, 6144, 256
    return toy


def test_what_fits_fits_and_what_does_not_does_not(toy: Toy) -> None:
    spec = toy.spec(method="lora", precision="bf16")
    assert planner_for(toy, room(toy, spec, 1.0)).plan(spec).fits
    tight = planner_for(toy, room(toy, spec, 0.99)).plan(spec)
    assert not tight.fits
    assert tight.spill_bytes == 0
    assert set(tight.peak_bytes) == {"load", "train", "evaluate"}


def test_a_card_has_its_context_and_a_cpu_its_runtime(toy: Toy) -> None:
    spec = toy.spec(method="lora")
    on_card = planner_for(toy, parse_device("12GB", HERE)).estimate(spec)
    here = planner_for(toy, HERE).estimate(spec)
    assert min(on_card.peak_bytes.values()) > CUDA_CONTEXT_BYTES
    assert min(here.peak_bytes.values()) > 400_000_000


def test_frozen_weights_spill_and_trained_ones_cannot(toy: Toy) -> None:
    big(toy)
    lora, full = toy.spec(method="lora", precision="bf16"), toy.spec(method="full", precision="bf16")
    device = room(toy, lora, 0.8, spill=32 * GIB)
    planner = planner_for(toy, device)
    found = planner.estimate(lora)
    missing = found.highest_bytes - device.memory_bytes
    spilled = spill_bytes(found, device)
    assert spilled == missing + fetched_bytes(found.trace)
    plan = planner.plan(lora)
    assert (plan.fits, plan.spill_bytes) == (False, spilled)
    assert plan.seconds_per_iteration == pytest.approx((found.seconds or 0) + 2 * spilled / BUS_BYTES_PER_SECOND)
    assert planner.plan(full).spill_bytes == 0
    assert planner_for(toy, dataclasses.replace(device, spill_bytes=0)).plan(lora).spill_bytes == 0
    assert planner_for(toy, dataclasses.replace(device, spill_bytes=missing // 2)).plan(lora).spill_bytes == 0


def test_what_was_spilled_as_advised_fits(toy: Toy) -> None:
    big(toy)
    spec = toy.spec(method="lora", precision="bf16")
    planner = planner_for(toy, room(toy, spec, 0.8, spill=32 * GIB))
    streaming = [a for a in advice.advise(planner, spec) if "offload_bytes" in a.change]
    assert streaming
    assert planner.plan(with_changes(spec, streaming[0].change)).fits


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow), "dora"])
def test_every_piece_of_advice_makes_it_fit(toy: Toy, method: str) -> None:
    big(toy)
    spec = toy.spec(method=method, precision="bf16", batch_size=16, max_length=64)
    planner = planner_for(toy, room(toy, spec, 0.93))
    found = advice.advise(planner, spec)
    assert found
    for piece in found:
        changed = planner.plan(with_changes(spec, piece.change))
        assert changed.fits, piece.text
        assert max(changed.peak_bytes.values()) == piece.peak_bytes
        assert piece.seconds_factor is not None
    assert [p.seconds_factor for p in found] == sorted(p.seconds_factor or 0 for p in found)


def test_full_fine_tuning_fits_with_8_bit_moments(toy: Toy) -> None:
    big(toy)
    spec = toy.spec(method="full", precision="bf16", master_weights=True)
    planner = planner_for(toy, room(toy, spec, 0.7))
    (found,) = (a for a in advice.advise(planner, spec) if "optimizer" in a.change)
    changed = planner.estimate(with_changes(spec, found.change))
    numbers = sum(p.numel() for p in build_meta_model(toy.config, torch.bfloat16).parameters())
    saved = planner.estimate(spec).trace.kept_bytes - changed.trace.kept_bytes
    assert saved == pytest.approx(numbers * (8 - 2 * (1 + 4 / 256)), rel=0.01)


def test_micro_batches_keep_the_sum(toy: Toy) -> None:
    big(toy)
    spec = toy.spec(method="lora", precision="bf16", batch_size=16, max_length=64)
    planner = planner_for(toy, room(toy, spec, 0.93))
    sizes = [a.change for a in advice.advise(planner, spec) if "batch_size" in a.change]
    assert sizes
    assert all(c["batch_size"] * c["accumulation_steps"] == 16 for c in sizes)


def test_what_fits_needs_no_advice_and_the_impossible_has_none(toy: Toy) -> None:
    spec = toy.spec(method="lora")
    assert advice.advise(planner_for(toy, parse_device("24GB", HERE)), spec) == ()
    assert advice.advise(planner_for(toy, parse_device("0.5GB", HERE)), spec) == ()


@pytest.mark.parametrize(
    ("method", "options", "share"), [("last-layers", {"blocks": 2}, 0.45), ("ln-tuning", {}, 0.85)]
)
def test_changes_that_a_method_refuses_are_no_advice(
    toy: Toy, method: str, options: dict[str, Any], share: float
) -> None:
    """Tuning of blocks goes over no 4-bit base, and no trained block can be offloaded; q and v are no norms."""
    big(toy)
    spec = toy.spec(method=method, method_options={"precision": "bf16", **options}, precision=None)
    tight = planner_for(toy, room(toy, spec, share))
    found = advice.advise(tight, spec)
    assert not any("targets" in a.change for a in found)
    assert any("precision" in a.change for a in found) == (method != "last-layers")
    with_spill = room(toy, spec, 0.8, spill=32 * GIB)
    assert (spill_bytes(planner_for(toy, with_spill).estimate(spec), with_spill) > 0) == (method != "last-layers")


def test_the_largest_batch_fits_and_a_much_larger_one_does_not(toy: Toy) -> None:
    spec = toy.spec(method="lora", batch_size=4)
    planner = planner_for(toy, room(toy, toy.spec(method="lora", batch_size=40), 1.0))
    most = advice.largest_batch(planner, spec)
    assert 30 <= most <= 50
    assert planner.plan(dataclasses.replace(spec, batch_size=most - 5)).fits
    assert not planner.plan(dataclasses.replace(spec, batch_size=most + 10)).fits


def test_about_the_largest_of_each(toy: Toy) -> None:
    big(toy)
    spec = toy.spec(method="lora", precision="bf16", batch_size=8, max_length=64)
    planner = planner_for(toy, room(toy, spec, 1.05))
    sizes = advice.largest(planner, spec)
    assert planner.plan(dataclasses.replace(spec, batch_size=sizes["batch_size"])).fits
    assert planner.plan(dataclasses.replace(spec, max_length=sizes["max_length"])).fits
    assert sizes["batch_size"] > 8
    assert sizes["max_length"] > 64
    assert "model" not in sizes
    assert "model" in advice.largest(planner_for(toy, room(toy, spec, 0.9)), spec)


def test_recomputing_takes_less_memory_and_more_products(toy: Toy) -> None:
    plain, again = (
        planner_for(toy, HERE).estimate(toy.spec(method="lora", batch_size=32, activation_checkpointing=r))
        for r in (False, True)
    )
    assert again.trace.tensor_bytes["train"] < 0.8 * plain.trace.tensor_bytes["train"]
    assert 1.2 < again.trace.step.flops / plain.trace.step.flops < 1.6
    assert again.trace.layers == LAYERS


def test_a_readout_that_keeps_hidden_states_runs_the_model_in_the_first_epoch_alone(toy: Toy) -> None:
    spec = toy.spec(method="linear-probe", accumulation_steps=2)
    found = toy.trace(spec)
    rows, hidden, labels = 3, toy.config.hidden_size, len(SPACE.labels)
    assert found.later_step is not None
    # Of each micro-batch, the scores and the gradient of the head's weight.
    assert found.later_step.flops == 2 * 2 * 2 * rows * hidden * labels
    forward = toy.trace(dataclasses.replace(spec, accumulation_steps=1)).step.flops
    assert found.step.flops == pytest.approx(2 * forward)
    assert forward > 100 * found.later_step.flops
    assert toy.trace(toy.spec(method="lora")).later_step is None


def test_the_seconds_of_training_count_repeated_forwards_once(toy: Toy) -> None:
    spec = toy.spec(method="linear-probe", epochs=10)

    def workload(_: Any, readout: Any) -> Any:
        return dataclasses.replace(filled_workload(readout, spec), steps_per_epoch=7, examples=1000)

    planner = Planner(dataclasses.replace(planner_for(toy, HERE).request, workload=workload))
    one, ten = (planner.plan(dataclasses.replace(spec, epochs=epochs)) for epochs in (1, 10))
    assert one.train_seconds == pytest.approx(7 * one.seconds_per_iteration)
    assert ten.train_seconds == pytest.approx(one.train_seconds + 9 * 7 * ten.seconds_per_iteration)
    assert ten.seconds_per_iteration < one.seconds_per_iteration
    few = Planner(dataclasses.replace(planner_for(toy, HERE).request)).plan(spec)
    kept = 1000 * toy.config.hidden_size * 4
    assert ten.peak_bytes["evaluate"] - few.peak_bytes["evaluate"] >= kept
    assert ten.peak_bytes["load"] == few.peak_bytes["load"]
