"""What a model's name means: the registered sources are asked in their order whether they claim it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from semtune.contracts import ModelSource, SourceOptions
from semtune.errors import ModelError, did_you_mean
from semtune.registry import SOURCES


@dataclass(frozen=True, slots=True)
class ModelName:
    """A parsed model name: a source of `registry.SOURCES`, and the reference within it (path, hub id, …)."""

    source: str
    reference: str


def resolve(name: str) -> ModelName:
    """Parse `name`: the first source, in the registry's order, that claims it.

    Raises:
        ModelError: no source claims it, or one says what is wrong with it.
    """
    canonical = SOURCES.canonical(name)
    for source in SOURCES:
        reference = SOURCES.get(source).claims(canonical)
        if reference is not None:
            return ModelName(source, reference)
    prefix, colon, _ = name.partition(":")
    if colon and re.fullmatch(r"[a-z0-9_-]{2,}", prefix):  # two letters at least: "C:\..." is a path
        prefixes = [SOURCES.get(source).prefix for source in SOURCES]
        raise ModelError(
            f'There is no model source called "{prefix}:"; {did_you_mean(prefix, filter(None, prefixes))}.'
        )
    if name.startswith((".", "/", "~")) or "/" in name or "\\" in name:
        raise ModelError(f'There is no model folder at "{name}"; check the path.')
    raise ModelError(
        f'There is no model called "{name}"; give "default", "shape:<name>", a folder, a .gguf file, or a hub id like '
        f"owner/name (sources: {', '.join(SOURCES)})."
    )


def source_of(name: str, options: SourceOptions | None = None) -> ModelSource:
    """The source object for `name`. Nothing is read yet.

    Raises ModelError as `resolve` does, and for a revision of a model that has none.
    """
    parsed = resolve(name)
    if options is not None and options.revision is not None and not SOURCES.get(parsed.source).has_revisions:
        raise ModelError(f'"{name}" is no model on the hub, so it has no revision "{options.revision}"; leave it out.')
    source: ModelSource = SOURCES.get(parsed.source)(parsed.reference, options or SourceOptions())
    return source
