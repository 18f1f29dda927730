"""`load` a model by name into memory, in a given precision, filled one tensor at a time.

Precisions: "fp32", "bf16" and "fp64" hold every weight so and compute in it; "nf4" holds the decoder's linear layers in
4 bits (Dettmers et al. 2023) and everything else in the compute dtype; "nf4-cached" rounds them to the same 4-bit
values but keeps them in the compute dtype: QLoRA's results with LoRA's speed and memory; "compute" is bf16 where this
machine multiplies bf16 natively and fp32 where it does not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from semtune.contracts import Tokenizer, WeightStream
from semtune.errors import ModelError, OptionError, did_you_mean
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.architectures import install
from semtune.models.loaded import TransformersModel
from semtune.models.meta_model import build_meta_model, fill, materialise_buffers
from semtune.models.naming import resolve
from semtune.models.offloading import offloaded_paths
from semtune.models.prepacking import unpack_nf4
from semtune.models.sources.base import Located, SourceOptions
from semtune.models.sources.published import DEFAULT_SHAPE, PUBLISHED
from semtune.models.sources.pypi import default_folder
from semtune.models.tokenizer import load_tokenizer
from semtune.nn.offloaded import OffloadedLinear
from semtune.registry import SOURCES
from semtune.runtime.processor import native_bf16

NF4_CACHED = "nf4-cached"
PRECISIONS = ("compute", "fp32", "bf16", "nf4", NF4_CACHED, "fp64")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
"""Of the precisions that are a dtype; the others compute in what the device does best."""


def load(
    name: str,
    *,
    precision: str = "compute",
    seed: int = 0,
    device: str = "auto",
    trust_remote_code: bool = False,
    revision: str | None = None,
    offload_bytes: int = 0,
) -> TransformersModel:
    """The model `name` in evaluation mode, without a KV cache of its own, with semtune's unpadded attention.

    `seed` is of random weights (`shape:` models) only. `offload_bytes`: of the decoder's linear weights that wait in
    main memory and come to the device for each product.

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
    """Fill a meta-device model from `stream` and install its architecture; notes. Raises ModelError, OptionError."""
    quantise = is_quantised(precision)
    if quantise and offload_bytes:
        raise OptionError("A base in 4 bits is not streamed; leave --stream-gb out, or choose precision bf16.")
    outside = offloaded_paths(model, offload_bytes, dtype.itemsize)
    notes = fill(model, stream, dtype=dtype, device=device, quantise=quantise, compute_dtype=dtype, outside=outside)
    for path in outside:
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        model.set_submodule(path, OffloadedLinear(linear, device))
    if precision == NF4_CACHED:
        unpack_nf4(model)
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
        name = f"shape:{DEFAULT_SHAPE}"  # the same numbers; its files are for whoever tunes it
    source = _source(name, SourceOptions(0, trust_remote_code, revision))
    try:
        return source.config() if hasattr(source, "config") else source.locate().config
    except ModelError:
        if name not in PUBLISHED:
            raise
        return _source(f"shape:{PUBLISHED[name]}", SourceOptions()).config()


def conversion_bytes(name: str) -> int:
    """What another process will hold at its peak to make `name` readable, before the first run. Raises ModelError."""
    source = _source(name, SourceOptions())
    return int(source.conversion_bytes()) if hasattr(source, "conversion_bytes") else 0


def stored_dtype(name: str, config: Any) -> torch.dtype:
    """What dtype the model's files hold: what the config says; fp32 where semtune itself wrote them from GGUF."""
    if resolve(name).source in ("default", "pypi", "gguf"):
        return torch.float32
    said = getattr(config.get_text_config(), "dtype", None)
    return said if isinstance(said, torch.dtype) else torch.bfloat16


def planning_tokenizer(name: str, config: Any, *, trust_remote_code: bool = False) -> tuple[Tokenizer, str | None]:
    """An tokenizer for plans, and a note where it is not the model's own: no weights are downloaded for it.

    The model's tokenizer where it can be had, else the default model's where it is in the cache, else an estimate of 4
    bytes a token.
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
    """The dtype that products run in. Raises OptionError on an unknown precision."""
    if precision not in PRECISIONS:
        raise OptionError(f'There is no precision "{precision}"; {did_you_mean(precision, PRECISIONS)}.')
    return dtype_of(precision, bf16=native_bf16(device.type))


def dtype_of(precision: str, *, bf16: bool) -> torch.dtype:
    """The same where it is known whether the device multiplies bf16 natively."""
    return _DTYPES.get(precision, torch.bfloat16 if bf16 else torch.float32)


def is_quantised(precision: str) -> bool:
    """Whether the decoder's weights are read into 4 bits, which cannot be streamed."""
    return precision in ("nf4", NF4_CACHED)


def resolve_device(device: str) -> torch.device:
    """ "auto": the GPU if there is one. Raises OptionError on a device that this machine does not have."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f'There is no device "{device}"; give auto, cpu or cuda.') from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise OptionError("This machine has no GPU that torch can use; give --device cpu (or auto).")
    return wanted


def vocab_size(config: Any) -> int:
    """How many rows the model's embedding has."""
    return int(config.get_text_config().vocab_size)


def _source(name: str, options: SourceOptions) -> Any:
    understood = resolve(name)
    return SOURCES.get(understood.source)(understood.reference, options)


def _locate(name: str, options: SourceOptions) -> Located:
    located: Located = _source(name, options).locate()
    if getattr(located.config, "is_encoder_decoder", False):
        raise ModelError(f'"{name}" is an encoder-decoder model; semtune tunes decoder-only (causal) language models.')
    return located
