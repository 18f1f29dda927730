"""`load` a model by name into memory, in a given precision, filled one tensor at a time.

Precisions: "fp32", "bf16" and "fp64" hold every weight so and compute in it; "nf4" holds the decoder's linear layers in
4 bits (Dettmers et al. 2023) and everything else in the compute dtype; "nf4-cached" rounds them to the same 4-bit
values but keeps them in the compute dtype: QLoRA's results with LoRA's speed and memory; "auto" is bf16 where this
machine multiplies bf16 natively and fp32 where it does not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from semtune.contracts import SourceOptions, WeightStream
from semtune.errors import OptionError, did_you_mean
from semtune.models.loaded import TransformersModel
from semtune.models.locate import locate, vocab_size
from semtune.models.meta_model import build_meta_model, fill, materialise_buffers
from semtune.models.offloading import offloaded_paths
from semtune.models.packed_attention import install
from semtune.models.prepacking import unpack_nf4
from semtune.models.tokenizer import load_tokenizer
from semtune.nn.offloaded import OffloadedLinear
from semtune.runtime.processor import native_bf16

NF4_CACHED = "nf4-cached"
PRECISIONS = ("auto", "fp32", "bf16", "nf4", NF4_CACHED, "fp64")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
"""Of the precisions that are a dtype; the others compute in what the device does best."""


def load(
    name: str,
    *,
    precision: str = "auto",
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
    located = locate(name, SourceOptions(seed, trust_remote_code, revision))
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
    """Fill a meta-device model from `stream` and make it ready for unpadded batches; notes. Raises ModelError, OptionError."""
    quantise = is_quantised(precision)
    if quantise and offload_bytes:
        raise OptionError("A base in 4 bits is not offloaded; leave --offload-gb out, or choose precision bf16.")
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
