"""Plugins: a stranger's module registers names, and they work from the command line, in children too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from semtune.errors import PluginError
from semtune.plugins import load_plugins

from .conftest import Semtune, last_json

PLUGIN = '''
"""A baseline, a strategy and a launcher, registered from outside."""
from dataclasses import dataclass

from semtune.registry import BASELINES, LAUNCHERS, STRATEGIES


@dataclass(frozen=True)
class Settings:
    which: int = 0


class Loudest:
    """Predicts the second label unless the text shouts."""

    name = "loudest"
    target_kinds = frozenset({"label_set", "single_label"})

    def __init__(self, context):
        self.labels = context.space.labels

    def fit(self, train, dev):
        pass

    def predict(self, examples):
        from semtune.records import Prediction, SingleLabel

        return [Prediction(e.id, SingleLabel(self.labels[0 if "!" in e.text else 1])) for e in examples]

    def save(self, folder):
        pass

    def load(self, folder):
        pass


class Echo:
    """Asks for one free token and answers with one label, whatever it was."""

    name = "echo"
    target_kinds = frozenset({"label_set", "single_label"})
    Settings = Settings

    def __init__(self, context, prompt, settings):
        self.label = context.space.labels[settings.which]

    def fit(self, train):
        pass

    def run(self, example, generator):
        from semtune.records import Prediction, SingleLabel

        (said,) = generator.generate([example.text[:20]], 1)
        return Prediction(example.id, SingleLabel(self.label), raw=said)

    def save(self, folder):
        pass

    def load(self, folder):
        pass


def inline(parallel):
    """A launcher that runs each run where it is waited for, in the study's own process."""
    from semtune.progress import RunBar
    from semtune.runs.runner import run

    class Inline:
        def submit(self, spec, folder):
            return spec, folder

        def wait(self, handles):
            print("inline launcher at work")
            with RunBar() as bar:
                return handles[0], run(*handles[0], bar, overwrite=True)

        def interrupt(self, handles):
            return []

    class Hashable(Inline):
        def submit(self, spec, folder):
            class Handle(tuple):
                __hash__ = object.__hash__

            return Handle((spec, folder))

    return Hashable()


BASELINES.register("loudest", Loudest, "shouting is doubtful")
STRATEGIES.register("echo", Echo, "one token")
LAUNCHERS.register("inline", inline, "in this process")
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that every `semtune` process of the test finds."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "my_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SEMTUNE_PLUGINS", "my_plugin")
    return "my_plugin"


def test_names_of_plugins_are_listed(semtune: Semtune, plugin: str) -> None:
    assert "shouting is doubtful" in semtune("list", "baselines").stdout
    assert "one token" in semtune("list", "strategies").stdout
    assert "in this process" in semtune("list", "launchers").stdout


@pytest.mark.parametrize("launcher", ["inline", "process"])
def test_a_study_runs_what_plugins_registered(
    launcher: str, semtune: Semtune, plugin: str, tiny_model: Path, reviews: Path, tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        f"task: table\ntask_options: {{data: {reviews}, text_column: comment, label_column: mood}}\n"
        f"model: {tiny_model}\nmethods: []\nstrategies: [echo]\nbaselines: [loudest]\nlauncher: {launcher}\n",
        encoding="utf-8",
    )
    done = semtune("study", file, "--out", "study")
    assert ("inline launcher at work" in done.stdout) == (launcher == "inline")
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    (row,), (baseline,) = record["runs"], record["baselines"]
    assert (row["name"], row["status"]) == ("echo", "ok")
    assert (baseline["name"], baseline["status"]) == ("loudest", "ok")
    page = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    for name in ("echo", "loudest"):
        assert name in done.stdout
        assert name in page
    (answer,) = last_json(semtune("predict", "study/baselines/loudest", "Buy it now!", "--json"))
    assert answer["labels"] == record["labels"][:1]
    (answer,) = last_json(semtune("predict", "study/echo-report-s0", "Buy it now!", "--json"))
    assert answer["labels"] == record["labels"][:1]


def test_a_broken_plugin_is_one_sentence(semtune: Semtune, plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMTUNE_PLUGINS", "my_plugin, no_such_plugin")
    done = semtune("list", "methods", check=2)
    assert "Traceback" not in done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("semtune: ")]
    assert "no_such_plugin" in said
    assert "SEMTUNE_PLUGINS" in said


def test_plugins_come_from_entry_points_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMTUNE_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    information = tmp_path / "someones-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: someones\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[semtune.plugins]\nsomeones = someones_plugin\n")
    with pytest.raises(PluginError, match=r"someones_plugin.*entry point someones"):
        load_plugins()
    (tmp_path / "someones_plugin.py").write_text("LOADED = True\n")
    assert load_plugins() == ("someones_plugin",)
