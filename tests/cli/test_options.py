"""Options of commands come from the dataclasses: help, open options of methods, earlier spellings, lists."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import semtune.cli
from semtune.cli.app import app
from semtune.methods._low_rank import LowRankMethod
from semtune.records import CommonReadoutOptions, LowRankSettings, RunSpec, TaskOptions, option
from semtune.registry import METHODS, Entry
from semtune.specs import method_settings, resolve

from .conftest import Semtune, last_json


@dataclass(frozen=True, slots=True)
class WarmSettings(LowRankSettings):
    """Settings with an option that no other method has."""

    warmth: float = option(0.5, help="How warm the adapters begin.", unit="degrees")
    layers: tuple[str, ...] = option((), help="Layers that are warm.")


class WarmMethod(LowRankMethod):
    Settings = WarmSettings


WARM = WarmMethod("warm", {"default": WarmSettings(rank=2), "report": WarmSettings(rank=2, warmth=0.25)})


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._entries, "warm", Entry(f"{__name__}:WARM", "for a test"))


class Stopped(Exception):  # noqa: N818
    """Raised in place of running."""


@pytest.fixture
def tuned_spec(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunSpec]:
    """The resolved spec that `semtune tune ARGUMENTS` would run."""
    specs: list[RunSpec] = []

    def run(spec: RunSpec, *_: object, **__: object) -> Any:
        specs.append(resolve(spec))
        raise Stopped

    monkeypatch.setattr("semtune.cli.tune._run", run)

    def tune(*arguments: str) -> RunSpec:
        with pytest.raises(Stopped):
            app(["tune", "--task", "practice", "--out", "run", *arguments], standalone_mode=False)
        return specs[-1]

    return tune


def complaint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence on standard error of a command that ends with status 2."""
    monkeypatch.setattr(sys, "argv", ["semtune", *arguments])
    with pytest.raises(SystemExit) as ended:
        semtune.cli.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_help_shows_every_option_with_its_text(semtune: Semtune) -> None:
    shown = " ".join(semtune("tune", "--help").stdout.replace("│", " ").split())
    for record in (RunSpec, TaskOptions, LowRankSettings, CommonReadoutOptions):
        for field in dataclasses.fields(record):
            if field.name == "task_options":
                continue
            flag = field.name.replace("_", "-").replace("-bytes", "-gb")
            flag = flag.removesuffix("s") if flag.endswith("-options") else flag
            assert f"--{flag} " in shown, flag
            assert field.metadata["help"].split(";")[0].split(",")[0].split()[0] in shown
    assert "--recompute" not in shown and "--stream-gb" not in shown
    for panel in ("Task data", "Model and method", "Training", "Predicting", "Machine"):
        assert f"─ {panel} ─" in shown


@pytest.mark.parametrize("command", ["plan", "study", "evaluate"])
def test_other_commands_have_the_same_options(semtune: Semtune, command: str) -> None:
    shown = semtune(command, "--help").stdout
    assert "--label-separator" in shown
    assert command == "evaluate" or all(flag in shown for flag in ("--rank", "--method-option", "--offload-gb"))


def test_common_options_and_any_other(warm: None, tuned_spec: Callable[..., RunSpec]) -> None:
    spec = tuned_spec(
        "--method", "warm", "--rank", "3", "--method-option", "warmth=0.75", "--targets", "q_proj, v_proj"
    )
    assert method_settings(spec) == WarmSettings(rank=3, warmth=0.75, targets=("q_proj", "v_proj"))
    spec = tuned_spec("--method", "warm", "--method-option", "layers=a,b", "--method-option", "alpha=2")
    assert method_settings(spec) == WarmSettings(rank=2, alpha=2.0, layers=("a", "b"))
    assert tuned_spec("--method", "warm", "--preset", "report").method_options["warmth"] == 0.25


def test_options_of_readouts(tuned_spec: Callable[..., RunSpec]) -> None:
    spec = tuned_spec("--readout", "generate", "--loss-on", "all", "--readout-option", "max-new-tokens=7")
    assert spec.readout_options == {"train_on_prompt": True, "max_new_tokens": 7}


def test_earlier_spellings(tuned_spec: Callable[..., RunSpec]) -> None:
    spec = tuned_spec("--recompute", "--stream-gb", "1.5", "--precision", "compute")
    assert (spec.activation_checkpointing, spec.offload_bytes) == (True, 1_500_000_000)
    assert spec.method_options["precision"] == "auto"
    assert tuned_spec("--activation-checkpointing", "--offload-gb", "1.5", "--precision", "auto") == spec
    assert not tuned_spec("--no-recompute").activation_checkpointing


def test_what_is_not_given_is_the_records_default(tuned_spec: Callable[..., RunSpec]) -> None:
    assert tuned_spec() == resolve(RunSpec("practice"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method-option", "rnak=8"], 'did you mean "rank"'),
        (["--method", "full", "--rank", "8"], 'The method full has no option "rank"'),
        (["--method", "warm", "--method-option", "warmt=1"], 'did you mean "warmth"'),
        (["--method", "warm", "--method-option", "warmth=hot"], '"warmth" must be a number, not "hot"'),
        (["--method-option", "rank"], "NAME=VALUE"),
        (
            ["--method-option", "dropout=0.5", "--method-option", "dropout=0.1"],
            'gives dropout twice, as "0.5" and "0.1"',
        ),
        (["--approach", "baseline", "--baseline", "top-1", "--preset", "nosuch"], "leave --preset out"),
        (["--readout", "generate", "--readout-option", "max_tokens=8"], 'did you mean "max_new_tokens"'),
        (["--prompt-option", "tone=kind"], 'The prompt report has no option "tone"'),
    ],
)
def test_one_sentence_about_a_wrong_option(
    warm: None,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sentence = complaint(monkeypatch, capsys, "tune", "--task", "practice", "--out", "nowhere", *arguments)
    assert says in sentence


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method-option", "rnak=8"], 'did you mean "rank"'),
        (["--method", "full", "--rank", "8"], 'The method full has no option "rank"'),
    ],
)
def test_an_option_of_no_planned_method(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["plan", "--model", "shape:smollm2-135m", "--max-length", "64", *arguments]
    assert says in complaint(monkeypatch, capsys, *plan)


def test_lists_show_options(warm: None, capsys: pytest.CaptureFixture[str]) -> None:
    app(["list", "methods", "--options"], standalone_mode=False)
    shown = capsys.readouterr().out
    for text in ("warmth", "degrees", "0.25 (report)", "0.5 (default)", "How warm the adapters begin."):
        assert text in shown


@pytest.mark.parametrize("kind", ["methods", "readouts", "prompts", "strategies"])
def test_lists_of_options_as_json(semtune: Semtune, kind: str) -> None:
    rows = last_json(semtune("list", kind, "--options", "--json"))
    for row in rows:
        for entry in row["options"]:
            assert set(entry) == {"name", "type", "unit", "defaults", "help"}
            assert entry["help"]
    if kind == "methods":
        lora = {entry["name"]: entry for row in rows if row["name"] == "lora" for entry in row["options"]}
        assert lora["rank"]["defaults"] == {"report": 8, "default": 16}
        assert lora["targets"]["type"] == "list of str"
