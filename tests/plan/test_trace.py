"""Plans against the same runs with all layers, fake and real, and faults that such a check must notice."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from semtune.approaches.tuned_model import TunedModel
from semtune.models import fake_model
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.fake_model import build_fake_model
from semtune.models.loaded import TransformersModel
from semtune.nn import kernels, nf4, panels
from semtune.nn.kernels import training_operators
from semtune.nn.nf4 import quantize_nf4
from semtune.plan import extrapolate, phases
from semtune.plan import recorder as recorder_module
from semtune.plan.recorder import Recorder
from semtune.plan.workload import SPACE, filled_workload
from semtune.records import RunSpec
from semtune.registry import METHODS, READOUTS
from semtune.specs import method_settings
from semtune.training.loop import optimizer_step
from semtune.training.schedule import Schedule
from tests.plan.conftest import LAYERS, Toy

FEWER = {"last-layers": {"blocks": 2}}
"""Options with which a method leaves some of the toy's layers alone."""
WAYS = [(m, "head") for m in METHODS] + [("lora", readout) for readout in READOUTS if readout != "head"]
SEVERAL = [(*way, activation_checkpointing) for way in WAYS for activation_checkpointing in (False, True)]
IN_SHORT = [
    ("full", "head", True), ("lora", "generate", False), ("qlora", "head", False), ("pfeiffer", "head", False),
    ("last-layers", "head", False), ("prefix", "head", False), ("linear-probe", "head", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "readout", "activation_checkpointing"),
    [pytest.param(*way, marks=[] if way in IN_SHORT else [pytest.mark.slow]) for way in SEVERAL],
)
def test_few_layers_stretched_are_all_layers(
    toy: Toy, method: str, readout: str, activation_checkpointing: bool
) -> None:
    given = {"method_options": FEWER[method]} if method in FEWER else {"precision": None}
    check_stretched(
        toy, toy.spec(method=method, readout=readout, activation_checkpointing=activation_checkpointing, **given)
    )


def check_stretched(toy: Toy, spec: RunSpec) -> tuple[int, phases.PhaseTrace, phases.PhaseTrace, phases.PhaseTrace]:
    """Compare live bytes and FLOPs of a few layers, stretched to all, with those of all layers.

    Returns the number of few layers, and the traces of so many, of one more, and of all.
    """
    once = phases.WorkloadOnce(lambda r: filled_workload(r, spec))
    few = extrapolate.shallow_layers(
        LAYERS,
        activation_checkpointing=spec.activation_checkpointing,
        last_apart=method_settings(spec).last_blocks_apart,
    )
    shallow, deep, full = (
        phases.run_phases(toy.base(spec), depth, lambda b: TunedModel(spec, b, SPACE), once, 64)
        for depth in (few, few + 1, LAYERS)
    )
    for a, b, whole in zip(shallow.sections, deep.sections, full.sections, strict=True):
        expected = max(whole.live_bytes, default=0)
        # A few bytes a parameter (its norm, in a list) come in other numbers than layers do.
        assert extrapolate.peak_bytes(a, b, LAYERS - few) == pytest.approx(expected, abs=64 * 24 * LAYERS), a.name
        flops = extrapolate.total(a, b, LAYERS - few, lambda s: sum(s.product_flops))
        assert flops == pytest.approx(sum(whole.product_flops)), a.name
    return few, shallow, deep, full


def filled(self: fake_model._FakeStream) -> Iterator[tuple[str, torch.Tensor]]:
    """Numbers to compute with, where a plan needs none."""
    for name, (shape, _) in self._shapes.items():
        yield name, torch.full(shape, 0.01, dtype=self._stored_dtype)


def real_train_peak(toy: Toy, spec: RunSpec, during: Callable[[TunedModel], Any] = lambda tuned: None) -> int:
    """The most bytes that are alive in two steps of the same run on real tensors."""
    recorder = Recorder()
    kept = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        with recorder.recording(fake=False), pytest.MonkeyPatch.context() as patch:
            patch.setattr(fake_model._FakeStream, "__iter__", filled)
            recorder.begin("load")
            size = int(toy.config.vocab_size)
            loaded = build_fake_model(
                toy.config, name="toy", precision=method_settings(spec).precision, dtype=torch.float32,
                device=torch.device("cpu"), stored_dtype=torch.float32, tokenizer=ApproximateTokenizer(size),
            )  # fmt: skip
            tuned = TunedModel(spec, loaded, SPACE)
            gc.collect()
            workload = filled_workload(tuned.readout, spec)
            optimizer = tuned.optimizer_choice.make(tuned.groups(), Schedule(3, 0.1))
            tuned.loaded.model.train()
            for _ in range(2):
                recorder.begin("forward")
                during(tuned)
                optimizer_step(tuned.readout, optimizer, workload.largest, 1.0)
    finally:
        gc.unfreeze()
        if kept:
            gc.enable()
    return max(max(s.live_bytes) for s in recorder.sections if s.name != "load")


def off(predicted: int, measured: int) -> float:
    """The error that the grid's check forms."""
    return abs(predicted - measured) / measured


@pytest.mark.parametrize(
    ("method", "readout"),
    [
        ("full", "head"), ("lora", "generate"), ("qlora", "generate"), ("dora", "head"), ("ia3", "head"),
        ("bitfit", "head"), ("ln-tuning", "generate"), ("last-layers", "generate"), ("houlsby", "head"),
        ("pfeiffer", "generate"), ("qa-lora", "generate"),
        ("prefix", "generate"), ("mam", "head"), ("linear-probe", "head"),
    ],
)  # fmt: skip
def test_a_plan_is_what_a_real_step_holds(toy: Toy, method: str, readout: str) -> None:
    spec = toy.spec(method=method, readout=readout, precision={"qlora": "nf4", "qa-lora": "int4"}.get(method, "fp32"))
    assert off(toy.trace(spec).tensor_bytes["train"], real_train_peak(toy, spec)) < 0.01


OPTIONS = [
    ("lora", "fp32", {"freeze_a": True, "start": "pissa", "dropout": 0.0, "svd_iterations": 0}),
    pytest.param("qlora", "nf4", {"start": "pissa", "dropout": 0.0, "lora_plus_ratio": 16.0}, marks=pytest.mark.slow),
    pytest.param(
        "qdora", "nf4", {"start": "loftq", "loftq_iterations": 2, "scaling": "rslora"}, marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(("method", "precision", "options"), OPTIONS, ids=str)
def test_options_of_adapters_are_planned(toy: Toy, method: str, precision: str, options: dict[str, Any]) -> None:
    spec = toy.spec(method=method, readout="head", precision=precision, **options)
    assert off(toy.trace(spec).tensor_bytes["train"], real_train_peak(toy, spec)) < 0.01


def test_a_forgotten_logits_term_is_noticed(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.config.vocab_size = 20_000
    spec = toy.spec(method="lora", readout="generate", loss_on="all")
    measured = real_train_peak(toy, spec)
    assert off(toy.trace(spec).tensor_bytes["train"], measured) < 0.01
    monkeypatch.setattr(TransformersModel, "next_token_loss", lambda self, hidden, targets: hidden.sum())
    assert off(toy.trace(spec).tensor_bytes["train"], measured) > 0.1


def test_a_leaked_activation_is_noticed(toy: Toy) -> None:
    spec = toy.spec(method="lora", readout="head", max_length=64, batch_size=8)
    predicted = toy.trace(spec).tensor_bytes["train"]
    assert off(predicted, real_train_peak(toy, spec)) < 0.01
    leaked = []

    def leak(tuned: TunedModel) -> None:
        for layer in tuned.loaded.model.modules():
            if type(layer).__name__ == "LowRankLinear":
                layer.register_forward_hook(lambda _, inputs, out: leaked.append(out.detach().clone()))

    assert off(predicted, real_train_peak(toy, spec, leak)) > 0.1


def test_accumulated_micro_batches_take_no_more_than_two(toy: Toy) -> None:
    once, often = (toy.trace(toy.spec(method="full", batch_size=2, accumulation_steps=n)) for n in (2, 6))
    assert once.tensor_bytes == often.tensor_bytes
    assert often.step.flops == pytest.approx(3 * once.step.flops)


def test_an_answer_grows_its_cache_to_the_longest_completion(toy: Toy) -> None:
    short, long = (toy.trace(toy.spec(readout="generate", max_new_tokens=n)).tensor_bytes["evaluate"] for n in (8, 400))
    per_token = 2 * 2 * 16 * 4 * LAYERS  # keys and values, heads, head_dim, bytes
    asked = 20  # predict_batch_size
    assert long - short > 0.8 * asked * per_token * (400 - 8 - 40)


@pytest.mark.parametrize(("method", "gpu"), [("qlora", True), ("dora", True), ("qlora", False)])
def test_a_repeated_formula_is_recorded_as_if_it_ran_again(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, method: str, gpu: bool
) -> None:
    spec = toy.spec(method=method, precision=None, dropout=0.05)
    known = toy.trace(spec, gpu=gpu)
    monkeypatch.setattr(recorder_module, "_signature", lambda argument: object())  # no two calls are alike
    assert toy.trace(spec, gpu=gpu) == known


def test_the_recorder_forgets_what_is_let_go() -> None:
    recorder = Recorder(round_to=512)
    with recorder.recording():
        recorder.begin("load")
        held = torch.zeros(1000)
        passing = torch.zeros(10) + 1
        assert recorder.live_bytes == 4096 + 512
        del passing
        view = held[10:]
        del held
        assert recorder.live_bytes == 4096
        del view
        assert recorder.live_bytes == 0


@pytest.mark.skipif(kernels.library() is None, reason="no compiled kernels here")
def test_an_operators_workspace_is_live_while_it_runs() -> None:
    rows, a, b = torch.ones(5, 32, dtype=torch.bfloat16), torch.ones(3, 32), torch.ones(16, 3)
    for fake in (True, False):
        recorder = Recorder()
        with recorder.recording(fake=fake):
            recorder.begin("forward")
            y = torch.ones(5, 16, dtype=torch.bfloat16)
            before = recorder.live_bytes
            inner = training_operators.add_low_rank_(rows, a, b, y, 1.0, 0, 0)
            after = recorder.live_bytes
        (section,) = recorder.sections
        workspace = 4 * training_operators._scratch_floats(a, b)
        assert after - before == 4 * 6 * 16  # (tokens + 1, padded rank) in fp32
        assert workspace <= max(section.live_bytes) - after < workspace + 64
        assert section.live_bytes[-1] == max(section.live_bytes)
        assert sum(section.loop_flops) == 2 * 5 * (32 * 3 + 3 * 16)
        del inner


def test_chunks_of_a_formula_are_counted_as_two_but_cost_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for chunk in (64 * 8, 64):
        monkeypatch.setattr(nf4, "_QUANTIZE_CHUNK", chunk)
        recorder = Recorder()
        with recorder.recording():
            recorder.begin("load")
            held = quantize_nf4(torch.ones(8, 64))
        found.append((recorder.sections[0], recorder.live_bytes))
        del held
    (whole, live), (chunked, live_chunked) = found
    assert live == live_chunked
    assert chunked.operations.count("aten.bucketize.Tensor") == whole.operations.count("aten.bucketize.Tensor") + 1
    assert sum(chunked.moved_bytes) >= sum(whole.moved_bytes)
    assert max(chunked.live_bytes) <= max(whole.live_bytes)


def test_products_are_counted_forward_and_backward() -> None:
    recorder = Recorder()
    with recorder.recording():
        weight = torch.nn.Parameter(torch.zeros(7, 5))
        x = torch.zeros(3, 5, requires_grad=True)
        recorder.begin("forward")
        (x @ weight.t()).sum().backward()
    flops = [f for section in recorder.sections for f in section.product_flops if f]
    assert flops == [2.0 * 3 * 5 * 7] * 3
    assert [s.name for s in recorder.sections] == ["forward", "backward", "accumulate"]


@pytest.mark.parametrize(("x_dtype", "w_dtype"), [("bfloat16", "bfloat16"), ("float32", "bfloat16")])
def test_products_in_panels_are_counted_forward_and_backward(
    x_dtype: str, w_dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "native_bf16", lambda device_type="cpu": False)
    monkeypatch.setattr(panels, "PANEL_BYTES", 1)
    monkeypatch.setattr(panels, "MIN_PANEL_ROWS", 3)  # 7 rows of the weight: two panels, and one of a row
    recorder = Recorder()
    with recorder.recording():
        weight = torch.zeros(7, 5, dtype=getattr(torch, w_dtype))
        x = torch.zeros(4, 5, dtype=getattr(torch, x_dtype))
        recorder.begin("forward")
        y = panels.linear(x, weight)
        recorder.begin("backward")
        panels.grad_input(y, weight)
        if x.dtype == weight.dtype:
            panels.grad_weight(y, x)
    found = [sum(section.product_flops) for section in recorder.sections]
    product = 2.0 * 4 * 5 * 7
    assert found == [product, product * (2 if x.dtype == weight.dtype else 1)]
