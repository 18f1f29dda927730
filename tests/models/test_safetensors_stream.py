"""The reader of safetensors files against the library's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from semtune.errors import ModelError
from semtune.models.safetensors_stream import SafetensorsStream

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@given(st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_reads_what_the_library_wrote(tmp_path_factory: pytest.TempPathFactory, specs: list) -> None:
    tensors = {f"t{i}": (torch.randn(shape) * 3).to(dtype) for i, (dtype, shape) in enumerate(specs)}
    file = tmp_path_factory.mktemp("st") / "model.safetensors"
    save_file(tensors, file, metadata={"format": "pt"})
    stream = SafetensorsStream([file])
    assert sorted(stream.names()) == sorted(tensors)
    read = dict(stream)
    assert [*read] == stream.names()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


@given(cut=st.integers(0, 400), flip=st.integers(0, 255), at=st.integers(0, 400))
@settings(max_examples=80, deadline=None)
def test_damaged_files_are_refused_or_read_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, at: int
) -> None:
    file = tmp_path_factory.mktemp("st") / "model.safetensors"
    save_file({"a": torch.zeros(8), "b": torch.ones(3, 3)}, file)
    data = bytearray(file.read_bytes())
    del data[len(data) - min(cut, len(data)) :]
    if at < len(data):
        data[at] ^= flip
    file.write_bytes(data)
    try:
        read = dict(SafetensorsStream([file]))
    except ModelError:
        return
    assert cut == 0
    assert all(isinstance(tensor, torch.Tensor) for tensor in read.values())


def test_a_dtype_that_semtune_does_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(4).to(torch.float8_e4m3fn)}, file)
    with pytest.raises(ModelError, match="F8_E4M3"):
        SafetensorsStream([file])
