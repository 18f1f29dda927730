"""`load` a model by name into memory, in a given precision, filled one tensor at a time.

Precisions: "fp32", "bf16" and "fp64" store every weight in that dtype and compute in it; "auto" is bf16 where this
machine multiplies bf16 natively and fp32 where it does not (old spelling: "compute"). The name of a quantisation
(`registry.QUANTIZATIONS`) quantises the decoder's linear layers; everything else is then stored, and everything
computed, in the dtype of "auto".
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from semtune.contracts import Quantization, Tokenizer, WeightStream
from semtune.errors import ModelError, OptionError
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.loaded import TransformersModel
from semtune.models.meta_model import build_meta_model, fill, materialise_buffers
from semtune.models.naming import resolve
from semtune.models.offloading import offload, offloaded_paths
from semtune.models.packed_attention import install
from semtune.models.sources.base import Located, SourceOptions
from semtune.models.sources.published import DEFAULT_SHAPE, PUBLISHED
from semtune.models.sources.pypi import default_folder
from semtune.models.tokenizer import load_tokenizer
from semtune.registry import QUANTIZATIONS, SOURCES
from semtune.runtime.processor import native_bf16
from semtune.specs.precision import AUTO, normalise_precision

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
"""The precisions that are a dtype; the others compute in the dtype that the device multiplies fastest."""


def load(
    name: str,
    *,
    precision: str = AUTO,
    seed: int = 0,
    device: str = "auto",
    trust_remote_code: bool = False,
    revision: str | None = None,
    offload_bytes: int = 0,
) -> TransformersModel:
    """The model `name` in evaluation mode, without a KV cache of its own, with semtune's unpadded attention.

    Args:
        precision: one of `specs.precision.precisions()`.
        seed: of random weights, which only `shape:` models have.
        offload_bytes: how much of the decoder's linear weights to offload to main memory.

    Raises:
        ModelError: the model cannot be found, read or trusted.
        OptionError: an impossible precision or device.
    """
    target = resolve_device(device)
    dtype = compute_dtype(precision, target)
    located = _locate(name, SourceOptions(seed, trust_remote_code, revision))
    model = build_meta_model(located.config, dtype, trust_remote_code=trust_remote_code)
    materialise_buffers(model, target)
    # Reading a tokenizer is Python's work, filling the model the disk's and torch's: they run side by side.
    with ThreadPoolExecutor(max_workers=1) as beside:
        reading = beside.submit(
            load_tokenizer,
            located.tokenizer_folder,
            vocab_size(located.config),
            fold=located.fold_vocabulary,
            trust_remote_code=trust_remote_code and not located.fold_vocabulary,
        )
        notes = finish(
            model, located.weights(model), precision=precision, dtype=dtype, device=target, offload_bytes=offload_bytes
        )
        tokenizer = reading.result()
    return TransformersModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        compute_dtype=dtype,
        device=target,
        hidden_size=int(located.config.get_text_config().hidden_size),
        notes=(*located.notes, *notes),
    )


def finish(
    model: nn.Module,
    stream: WeightStream,
    *,
    precision: str,
    dtype: torch.dtype,
    device: torch.device,
    offload_bytes: int = 0,
) -> tuple[str, ...]:
    """Fill a meta-device model from `stream` and make it ready for unpadded batches; the model's notes.

    Raises ModelError, OptionError.
    """
    quantization = quantization_of(precision)
    if offload_bytes and quantization is not None and not quantization.offloadable:
        raise OptionError(
            f"Weights in {quantization.name} cannot be offloaded; leave --offload-gb out, or choose precision bf16."
        )
    offloaded = offloaded_paths(model, offload_bytes, dtype.itemsize)
    notes = fill(model, stream, dtype=dtype, device=device, quantization=quantization, offloaded=offloaded)
    if quantization is not None and quantization.note:
        notes = (*notes, quantization.note)
    for path in offloaded:
        offload(model, path, device)
    model.eval()
    model.config.get_text_config().use_cache = False  # type: ignore[operator, union-attr]
    install(model)
    return notes


def prepare(name: str, *, trust_remote_code: bool = False, revision: str | None = None) -> tuple[str, ...]:
    """Download and convert `name` into the local cache, so that a later `load` measures loading alone.

    Returns the model's notes. Raises ModelError, as `load`.
    """
    return _locate(name, SourceOptions(0, trust_remote_code, revision)).notes


def locate_config(name: str, *, trust_remote_code: bool = False, revision: str | None = None) -> Any:
    """transformers' config of `name`, without weights; `shape:` models need no download.

    A hub model that cannot be reached is looked up among the published shapes. Raises ModelError.
    """
    if resolve(name).source in ("default", "pypi") and default_folder() is None:
        name = f"shape:{DEFAULT_SHAPE}"  # the same config, without a download
    source = _source(name, SourceOptions(0, trust_remote_code, revision))
    try:
        return source.config() if hasattr(source, "config") else source.locate().config
    except ModelError:
        if name not in PUBLISHED:
            raise
        return _source(f"shape:{PUBLISHED[name]}", SourceOptions()).config()


def conversion_bytes(name: str) -> int:
    """Peak bytes of the process that converts `name` before its first run; 0 for readable files. Raises ModelError."""
    source = _source(name, SourceOptions())
    return int(source.conversion_bytes()) if hasattr(source, "conversion_bytes") else 0


def stored_dtype(name: str, config: Any) -> torch.dtype:
    """The dtype of the model's files: the config's; fp32 where semtune itself wrote them from GGUF."""
    if resolve(name).source in ("default", "pypi", "gguf"):
        return torch.float32
    stored = getattr(config.get_text_config(), "dtype", None)
    return stored if isinstance(stored, torch.dtype) else torch.bfloat16


def planning_tokenizer(name: str, config: Any, *, trust_remote_code: bool = False) -> tuple[Tokenizer, str | None]:
    """A tokenizer for plans, and a note where it is not the model's own. No weights are downloaded for it.

    It is the model's tokenizer where that is available, else the default model's where that is cached, else an estimate
    of 4 bytes a token.
    """
    size, kind = vocab_size(config), resolve(name).source
    default = default_folder()
    if kind in ("default", "pypi", "shape"):
        if default is not None:
            return load_tokenizer(default, size, fold=kind == "shape"), None
        return ApproximateTokenizer(size), _APPROXIMATE
    source = _source(name, SourceOptions(0, trust_remote_code))
    try:
        folder = source.tokenizer_folder() if hasattr(source, "tokenizer_folder") else source.locate().tokenizer_folder
        return load_tokenizer(folder, size, trust_remote_code=trust_remote_code), None
    except ModelError:
        if default is None:
            return ApproximateTokenizer(size), _APPROXIMATE
        note = f"tokens: counted with the default model's tokenizer, as that of {name} is not at hand"
        return load_tokenizer(default, size, fold=True), note


_APPROXIMATE = "tokens: estimated at 4 bytes each, as no tokenizer is at hand"


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype that products run in on `device`. Raises OptionError on an unknown precision."""
    return dtype_of(precision, bf16=native_bf16(device.type))


def dtype_of(precision: str, *, bf16: bool) -> torch.dtype:
    """The dtype that products run in on a device that multiplies bf16 natively or not. Raises OptionError."""
    return _DTYPES.get(normalise_precision(precision), torch.bfloat16 if bf16 else torch.float32)


def quantization_of(precision: str) -> Quantization | None:
    """The quantisation that a precision names; None where weights are stored in a dtype. Raises OptionError."""
    name = normalise_precision(precision)
    quantization: Quantization | None = QUANTIZATIONS.get(name) if name in QUANTIZATIONS else None
    return quantization


def resolve_device(device: str) -> torch.device:
    """ "auto": the GPU if there is one. Raises OptionError on a device that this machine does not have."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f'There is no device "{device}"; give auto, cpu or cuda.') from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise OptionError("This machine has no GPU that torch can use; give --device cpu (or auto).")
    return chosen


def vocab_size(config: Any) -> int:
    """How many rows the model's embedding has."""
    return int(config.get_text_config().vocab_size)


def _source(name: str, options: SourceOptions) -> Any:
    resolved = resolve(name)
    return SOURCES.get(resolved.source)(resolved.reference, options)


def _locate(name: str, options: SourceOptions) -> Located:
    located: Located = _source(name, options).locate()
    if getattr(located.config, "is_encoder_decoder", False):
        raise ModelError(f'"{name}" is an encoder-decoder model; semtune tunes decoder-only (causal) language models.')
    return located
