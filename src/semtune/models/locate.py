"""Finds a model by its name, without its weights: config, tokenizer, stored dtype, conversion."""

from __future__ import annotations

from typing import Any

import torch

from semtune.contracts import Located, SourceOptions, Tokenizer
from semtune.errors import ModelError
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.naming import source_of
from semtune.models.supported import check_supported
from semtune.models.tokenizer import load_tokenizer

DEFAULT = "default"
"""The name whose tokenizer others borrow."""
_APPROXIMATE = "tokens: estimated at 4 bytes each, as no tokenizer is at hand"


def locate(name: str, options: SourceOptions) -> Located:
    """The model ready to be read, downloaded or converted into the local cache first.

    Raises:
        ModelError: it cannot be had, or its architecture is refused, before weights are downloaded.
    """
    source = source_of(name, options)
    check_supported(source.config(), trust_remote_code=options.trust_remote_code)
    return source.locate()


def prepare(name: str, *, trust_remote_code: bool = False, revision: str | None = None) -> tuple[str, ...]:
    """Download and convert `name` into the local cache, so that a later `load` measures loading alone.

    Returns the model's notes. Raises ModelError, as `load`.
    """
    return locate(name, SourceOptions(0, trust_remote_code, revision)).notes


def locate_config(name: str, *, trust_remote_code: bool = False, revision: str | None = None) -> Any:
    """transformers' config of `name`, without weights. Raises ModelError, as `locate`."""
    options = SourceOptions(0, trust_remote_code, revision)
    config = source_of(name, options).config()
    check_supported(config, trust_remote_code=trust_remote_code)
    return config


def conversion_bytes(name: str) -> int:
    """What another process will hold at its peak to make `name` readable, before the first run. Raises ModelError."""
    return source_of(name).conversion_bytes()


def stored_dtype(name: str, config: Any) -> torch.dtype:
    """The dtype of the floating-point tensors in the model's files. Raises ModelError."""
    return source_of(name).stored_dtype(config)


def planning_tokenizer(
    name: str, config: Any, *, trust_remote_code: bool = False, revision: str | None = None
) -> tuple[Tokenizer, str | None]:
    """A tokenizer for plans, and a note where it is not the model's own: no weights are downloaded for it.

    The model's tokenizer where it can be had, else the default model's where it is in the cache, else an estimate of 4
    bytes a token. Raises ModelError: see `naming.resolve`.
    """
    size, source = vocab_size(config), source_of(name, SourceOptions(0, trust_remote_code, revision))
    borrows = source.borrows_tokenizer
    try:
        folder = source.tokenizer_folder()
        return load_tokenizer(folder, size, fold=borrows, trust_remote_code=trust_remote_code and not borrows), None
    except ModelError:
        try:
            tokenizer = load_tokenizer(source_of(DEFAULT).tokenizer_folder(), size, fold=True)
        except ModelError:
            return ApproximateTokenizer(size), _APPROXIMATE
        return tokenizer, f"tokens: counted with the default model's tokenizer, as that of {name} is not at hand"


def vocab_size(config: Any) -> int:
    """Number of rows of the model's input embedding."""
    return int(config.get_text_config().vocab_size)
