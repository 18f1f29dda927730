"""Fixtures of all tests. No test may reach for the network."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fork_server import ForkServer

# Set before anything imports huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # processes side by side: a thread each, also in the commands they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
REVIEWS = [
    ("the soup was warm and kind", "good"),
    ("a cold and bitter soup", "bad"),
    ("kind people and warm bread", "good"),
    ("bitter bread, cold people", "bad"),
]


@pytest.fixture(autouse=True)
def ctrl_c_is_pytests() -> Iterator[None]:
    """A command that is called in this process ends with SIGINT's default, which would then end the whole suite."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Runs commands in forks of a process that has imported torch already."""
    server = ForkServer(tmp_path_factory.mktemp("fork"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def known_rates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with this machine's rates alone: each command's own is new, and looking takes a second or more."""
    from semtune.plan import requests

    folder = tmp_path_factory.mktemp("rates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMTUNE_CACHE", str(folder))
        patch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
        requests.rates_for(requests.local_device("cpu"), calibrate=False)
    return folder


@pytest.fixture
def semeval_data() -> Path:
    """The folder that holds the SemEval-2021 Task 6 files, as `--data-dir` takes it."""
    given = os.environ.get("SEMTUNE_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no SemEval-2021 Task 6 data: {folder} is no folder (set SEMTUNE_DATA to where the files are)")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with a byte-level tokenizer of its own, in transformers' format."""
    # Imported here, as tests of the rooms without torch should start at once.
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model") / "tiny"
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([text for text, _ in REVIEWS], trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(backend.get_vocab()),
        initializer_range=0.1,
        eos_token_id=0,
        bos_token_id=None,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A user's own table: 40 rows, one label each."""
    file = tmp_path / "reviews.csv"
    rows = [f'"{text}, {number}",{label}' for number in range(10) for text, label in REVIEWS]
    file.write_text("\n".join(["comment,mood", *rows]) + "\n", encoding="utf-8")
    return file
