"""Which modules a method's `targets` name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from semtune.errors import OptionError, TargetError, did_you_mean


def chosen_paths(paths: Collection[str], targets: Sequence[str], *, everything: str, kind: str) -> set[str]:
    """Those of the module paths `paths` that `targets` name.

    A target is `everything`, a module path, or a tail of one ("q_proj", "self_attn.q_proj"); where it matches nothing
    literally, "q" stands for "q_proj".

    Args:
        everything: the target that names all of them, such as "all-linear".
        kind: what they are, for messages, such as "linear layer".

    Raises:
        TargetError: a target matches nothing.
        OptionError: there is none.
    """
    if not targets:
        raise OptionError(f'No targets were given; name at least one {kind}, or "{everything}"')
    chosen: set[str] = set()
    for target in targets:
        matches = _matches(paths, target, everything) or _matches(paths, f"{target}_proj", everything)
        if not matches:
            names = {path.rpartition(".")[2] for path in paths} | {everything}
            raise TargetError(f'The target "{target}" matches no {kind}; {did_you_mean(target, names)}')
        chosen.update(matches)
    return chosen


def _matches(paths: Collection[str], target: str, everything: str) -> list[str]:
    if target == everything:
        return list(paths)
    return [path for path in paths if path == target or path.endswith(f".{target}")]
