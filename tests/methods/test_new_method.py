"""The worked example of docs/new-method.md: its blocks pass the contract suite and run from the command line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semtune.registry import METHODS

from ..cli.conftest import Semtune, last_json, semtune  # noqa: F401 - a fixture
from ..conftest import REPOSITORY
from .test_contract import *  # noqa: F403 - every check of the contract, collected here once more

pytestmark = [
    pytest.mark.parametrize("name", ["vera"]),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

PAGE = REPOSITORY / "docs" / "new-method.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's two blocks as files, as the page names them."""
    folder = tmp_path_factory.mktemp("site")
    method, line = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (folder / "vera.py").write_text(method, encoding="utf-8")
    (folder / "vera_plugin.py").write_text(line, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True, scope="module")
def registered(site: Path) -> Iterator[None]:
    """The method's name, in this process."""
    sys.path.insert(0, str(site))
    try:
        __import__("vera_plugin")
        yield
    finally:
        sys.path.remove(str(site))
        METHODS.unregister("vera")
        for module in ("vera", "vera_plugin"):
            sys.modules.pop(module, None)


def test_outputs_are_those_of_peft(name: str, attached, toy_model, ids: Tensor) -> None:
    from peft import VeraConfig, get_peft_model

    _, settings, loaded = attached("default")
    perturb(name, loaded.model)  # noqa: F405
    (first, *_) = layers = [m for m in loaded.model.modules() if type(m).__name__ == "VeraLinear"]
    config = VeraConfig(r=settings.rank, target_modules="all-linear", save_projection=True)
    peft_model = get_peft_model(toy_model(), config).double().eval()
    state = dict(peft_model.named_parameters()) | dict(peft_model.named_buffers())
    paths = {id(m): path for path, m in loaded.model.named_modules()}
    with torch.no_grad():
        peft_model.base_model.vera_A["default"].copy_(first.shared_a)
        peft_model.base_model.vera_B["default"].copy_(first.shared_b)
        for layer in layers:
            place = f"base_model.model.{paths[id(layer)]}.vera_lambda_"
            state[f"{place}d.default"].copy_(layer.vera_d)
            state[f"{place}b.default"].copy_(layer.vera_b)
    expected = logits(peft_model, ids)  # noqa: F405
    assert torch.allclose(logits(loaded.model, ids), expected, atol=1e-10)  # noqa: F405
    assert not torch.allclose(expected, logits(toy_model(), ids))  # noqa: F405


def test_it_runs_from_the_command_line(
    name: str,
    semtune: Semtune,  # noqa: F811
    site: Path,
    tiny_model: Path,
    reviews: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEMTUNE_PLUGINS", "vera_plugin")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    data = ("--task", "table", "--data", reviews, "--text-column", "comment", "--label-column", "mood")
    done = semtune(
        "tune", *data, "--model", tiny_model, "--method", name, "--method-option", "rank=8", "--epochs", 2,
        "--threads", 1, "--out", "run", "--json",
    )  # fmt: skip
    result = last_json(done)
    # Two blocks: 7 linear layers with d of 8 each, and b of 64, 32, 32, 64, 128, 128, 64; a head of 2 labels.
    assert result["trainable_parameters"] == 2 * (7 * 8 + 512) + 64 * 2 + 2
    assert result["predicted_peak_bytes"]["train"] > 0
    answer = last_json(semtune("predict", "run", "warm soup", "--json"))
    assert answer[0]["labels"][0] in ("bad", "good")
    semtune("merge", "run", "--out", "merged")
    (row,) = [row for row in last_json(semtune("list", "methods", "--json")) if row["name"] == name]
    assert row["paper"]["arxiv"] == "2310.11454"
    assert row["trainable_parameters"] == 30 * (7 * 256 + 4 * 576 + 2 * 192 + 2 * 1536 - 576)
    assert {p: base["merge"] for p, base in row["bases"].items()} == {
        "fp32": "merges", "bf16": "merges", "nf4": "refused", "nf4-cached": "merges", "int4": "refused",
    }  # fmt: skip
