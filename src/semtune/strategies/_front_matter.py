"""Front matter of Markdown: fields in YAML between two lines of three dashes, at the beginning of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_FRONT = re.compile(r"\A\s*---[ \t]*\n(?P<fields>(?:.*\n)*?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def front_matter(text: str) -> tuple[Mapping[str, Any], str]:
    """The fields of a file's front matter, {} where it has none, and the text with blank lines in its place."""
    import yaml

    match = _FRONT.match(text)
    if match is None:
        return {}, text
    try:
        fields = yaml.load(match["fields"], Loader=yaml.BaseLoader)  # texts, lists, dicts
    except (yaml.YAMLError, RecursionError):
        return {}, text
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        return {}, text
    return fields, _blank(match) + text[match.end() :]


def without_comments(text: str) -> str:
    """`text` without comments of HTML, and as many lines."""
    return _COMMENT.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")
