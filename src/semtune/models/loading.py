"""`load` a model by name into memory, in a given precision, filled one tensor at a time.

Precisions: "fp32", "bf16" and "fp64" store every weight in that dtype and compute in it; "auto" is bf16 where this
machine multiplies bf16 natively and fp32 where it does not (old spelling: "compute"). The name of a quantisation
(`registry.QUANTIZATIONS`) quantises the decoder's linear layers; all other weights are then stored in the dtype of
"auto", and everything is computed in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
import transformers.modeling_utils  # noqa: F401 - now: 130 MB of code, which must count as the runtime's, no model's
from torch import nn

from semtune.contracts import Located, Quantization, SourceOptions, WeightStream
from semtune.errors import OptionError
from semtune.models.architectures import install
from semtune.models.class_logits import hidden_width
from semtune.models.devices import resolve_device
from semtune.models.half_storage import HalfStorage, embedding_paths, half_storage, use_half_embeddings
from semtune.models.loaded import TransformersModel
from semtune.models.locate import locate, vocab_size
from semtune.models.meta_model import build_meta_model, fill, materialise_buffers, named_tensors
from semtune.models.offloading import offload, offloaded_paths
from semtune.models.stored_precision import check_precision
from semtune.models.tokenizer import load_tokenizer
from semtune.registry import QUANTIZATIONS
from semtune.runtime.processor import native_bf16
from semtune.specs.precision import AUTO, normalise_precision

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
"""The precisions that name a dtype; "auto" and the quantisations compute in bf16 or fp32, as the device has it."""


def load(
    name: str,
    *,
    precision: str = AUTO,
    seed: int = 0,
    device: str = "auto",
    trust_remote_code: bool = False,
    revision: str | None = None,
    offload_bytes: int = 0,
    frozen: bool = False,
) -> TransformersModel:
    """Load the model `name`, in evaluation mode, with semtune's packed attention, and its tokenizer.

    Args:
        precision: one of `specs.precision.precisions()`.
        seed: of random weights, which only `shape:` models have.
        offload_bytes: bytes of the decoder's linear weights to keep in main memory (CPU offload).
        frozen: whether the decoder's linear weights are never trained in place; see `half_storage`.

    Raises:
        ModelError: the model cannot be found, read or trusted.
        OptionError: an impossible precision or device.
    """
    resolved_device = resolve_device(device)
    dtype = compute_dtype(precision, resolved_device)
    located = locate(name, SourceOptions(seed, trust_remote_code, revision))
    model = build_meta_model(located.config, dtype, trust_remote_code=trust_remote_code)
    materialise_buffers(model, resolved_device)
    # The tokenizer is parsed by Python while torch and the disk fill the model: the two overlap well.
    with ThreadPoolExecutor(max_workers=1) as executor:
        tokenizer_future = executor.submit(
            load_tokenizer,
            located.tokenizer_folder,
            vocab_size(located.config),
            fold=located.fold_vocabulary,
            trust_remote_code=trust_remote_code and not located.fold_vocabulary,
        )
        notes = finish(
            model,
            located.weights(model),
            precision=precision,
            dtype=dtype,
            device=resolved_device,
            offload_bytes=offload_bytes,
            frozen=frozen,
        )
        tokenizer = tokenizer_future.result()
    return TransformersModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        compute_dtype=dtype,
        device=resolved_device,
        hidden_size=hidden_width(model),
        notes=(*located.notes, *notes),
        identity=located.identity,
        reread=lambda: _reread(located, dtype, trust_remote_code),
    )


def _reread(located: Located, dtype: torch.dtype, trust_remote_code: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in a model's files once more, by the model's own names."""
    meta_model = build_meta_model(located.config, dtype, trust_remote_code=trust_remote_code)
    return named_tensors(meta_model, located.weights(meta_model))


def finish(
    model: nn.Module,
    stream: WeightStream,
    *,
    precision: str,
    dtype: torch.dtype,
    device: torch.device,
    offload_bytes: int = 0,
    frozen: bool = False,
) -> tuple[str, ...]:
    """Fill a meta-device model from `stream`, quantise, offload and install its architecture; returns its notes.

    Raises ModelError, OptionError.
    """
    quantization = quantization_of(precision)
    check_precision(model.config, normalise_precision(precision))
    if offload_bytes and quantization is not None and not quantization.offloadable:
        raise OptionError(
            f"Weights in {quantization.name} cannot be offloaded; leave --offload-gb out, or choose precision bf16."
        )
    offloaded = offloaded_paths(model, offload_bytes, dtype.itemsize)
    storage = quantization or half_storage(frozen=frozen and not offloaded, dtype=dtype, device=device)
    half = embedding_paths(model) if isinstance(storage, HalfStorage) else set()
    notes = fill(model, stream, dtype=dtype, device=device, quantization=storage, offloaded=offloaded, half=half)
    use_half_embeddings(model, half)
    if quantization is not None and quantization.note:
        notes = (*notes, quantization.note)
    for path in offloaded:
        offload(model, path, device)
    model.eval()
    model.config.get_text_config().use_cache = False  # type: ignore[operator, union-attr]
    install(model)
    return notes


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix multiplications on `device`. Raises OptionError: unknown, or not of the device."""
    dtype = dtype_of(precision, bf16=native_bf16(device.type))
    if dtype == torch.float64 and device.type == "mps":
        raise OptionError("Apple's GPU has no fp64; give --precision fp32, or --device cpu.")
    return dtype


def dtype_of(precision: str, *, bf16: bool) -> torch.dtype:
    """The dtype of matrix multiplications on a device with (`bf16`) or without native bf16. Raises OptionError."""
    return _DTYPES.get(normalise_precision(precision), torch.bfloat16 if bf16 else torch.float32)


def quantization_of(precision: str) -> Quantization | None:
    """The quantisation that a precision names; None where weights are stored in a dtype. Raises OptionError."""
    name = normalise_precision(precision)
    quantization: Quantization | None = QUANTIZATIONS.get(name) if name in QUANTIZATIONS else None
    return quantization
