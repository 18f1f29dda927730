"""What a model's name means: a registered prefix, a path, or an id on the hub. No heavy imports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from semtune.errors import ModelError, did_you_mean
from semtune.registry import SOURCES

DEFAULT_REFERENCE = "smollm2-135m-instruct"
_PREFIXES = ("pypi", "shape")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name understood: which source of `registry.SOURCES`, and what it is asked for."""

    source: str
    reference: str


def resolve(name: str) -> ModelName:
    """Which source `name` belongs to. Existing folders win over hub ids of the same spelling.

    Raises:
        ModelError: `name` looks like a path that does not exist, or like nothing at all.
    """
    if name == "default":
        return ModelName("pypi", DEFAULT_REFERENCE)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _PREFIXES:
        return ModelName(prefix, rest)
    if colon and re.fullmatch(r"[a-z0-9_-]{2,}", prefix):  # two letters at least: "C:\..." is a path
        raise ModelError(f'There is no model source called "{prefix}:"; {did_you_mean(prefix, _PREFIXES)}.')
    path = Path(name).expanduser()
    if name.lower().endswith(".gguf"):
        if not path.is_file():
            raise ModelError(f'There is no GGUF file at "{name}"; check the path.')
        return ModelName("gguf", str(path))
    if path.is_dir():
        return ModelName("folder", str(path))
    if path.exists():
        raise ModelError(f'"{name}" is a file but not a .gguf file; give the folder that holds config.json instead.')
    if _HUB_ID.fullmatch(name):
        return ModelName("hub", name)
    if name.startswith((".", "/", "~")) or "/" in name or "\\" in name:
        raise ModelError(f'There is no model folder at "{name}"; check the path.')
    raise ModelError(
        f'There is no model called "{name}"; give "default", "shape:<name>", a folder, a .gguf file, or a hub id like '
        f"owner/name (sources: {', '.join(SOURCES)})."
    )
