"""Names of a study's run folders: readable, safe on every file system, and different for different runs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from semtune.errors import SemtuneError
from semtune.records import RunSpec
from semtune.registry import APPROACHES
from semtune.runs.folder import RunFolder
from semtune.runs.identity import same_run, spec_fingerprint
from semtune.runs.outcome import answer_of
from semtune.specs import read_spec, resolve

LONGEST = 80
"""Characters of a name before its digest."""
DIGITS = 6
_TAKEN = frozenset({"baselines", "data", "sweep", "con", "prn", "aux", "nul"})
"""Names, in lower case, of a study's own folders and of Windows's devices."""


def slug(text: str) -> str:
    """`text` in ASCII letters, digits, "." and "-"; with a digest of it where anything else was lost."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:LONGEST].rstrip("-.")
    if plain and plain == text and plain.lower() not in _TAKEN:
        return plain
    return "-".join(part for part in (plain, _digest(text)) if part)


def readable_name(spec: RunSpec, *, with_model: bool, with_answer: bool = False) -> str:
    """The choices of a run: "lora-head-report-s0", with the model's name and the way of answering where asked for."""
    return _joined(spec, with_model=with_model, slug_of=slug, answer=answer_of(spec) if with_answer else "")


def earlier_name(spec: RunSpec, *, with_model: bool) -> str:
    """The name that versions before gave, which was the same for "my_model" and "my-model"."""
    return _joined(spec, with_model=with_model, slug_of=lambda text: re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-"))


def folder_names(specs: Sequence[RunSpec], *, with_model: bool) -> list[str]:
    """A name for each resolved spec.

    The way of answering is in the names of runs that it tells apart. Names that a file system may take for each other,
    as it does not tell cases apart, get a digest of their spec.
    """
    names = [readable_name(spec, with_model=with_model) for spec in specs]
    counts = Counter(name.casefold() for name in names)
    names = [
        name if counts[name.casefold()] == 1 else readable_name(spec, with_model=with_model, with_answer=True)
        for name, spec in zip(names, specs, strict=True)
    ]
    counts = Counter(name.casefold() for name in names)
    return [
        name if counts[name.casefold()] == 1 else f"{name}-{spec_fingerprint(spec)[:DIGITS]}"
        for name, spec in zip(names, specs, strict=True)
    ]


def chosen_folder(spec: RunSpec, parent: Path, name: str, earlier: str, taken: Collection[Path]) -> Path:
    """The folder for a run of the resolved `spec`, none of `taken` (nor one that differs from those in case alone).

    It is `name`, or `earlier` where that holds a finished run of this spec. Where a run of another spec has left
    something trained under `name`, it stays, and the name gets a digest of this spec.
    """
    first, before = parent / name, parent / earlier
    occupied = {str(path).casefold() for path in taken}
    if str(before).casefold() not in occupied and RunFolder(before).finished() and _holds(before, spec):
        return before
    trained = RunFolder.current(first).kept() is not None
    if str(first).casefold() not in occupied and (not trained or _holds(first, spec)):
        return first
    return parent / f"{name}-{spec_fingerprint(spec)[:DIGITS]}"


def _holds(folder: Path, spec: RunSpec) -> bool:
    """Whether the run in `folder` is one of `spec`."""
    try:
        return same_run(resolve(read_spec(RunFolder.current(folder).spec)), spec)
    except SemtuneError:
        return False


def _joined(spec: RunSpec, *, with_model: bool, slug_of: Callable[[str], str], answer: str = "") -> str:
    uses = APPROACHES.get(spec.approach).uses
    fields = [*(["model"] if with_model else []), "method", "strategy", "readout", "prompt"]
    parts = [slug_of(str(getattr(spec, name))) for name in fields if name in uses]
    parts += [slug_of(answer)] if answer else []
    return _short("-".join([*parts, f"s{spec.seed}"]))


def _short(name: str) -> str:
    return name if len(name) <= 2 * LONGEST else f"{name[: 2 * LONGEST]}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
