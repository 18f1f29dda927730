"""Requests and tokens of transcripts, summed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from semtune.records import Usage


def with_calls(usage: Usage, calls: Iterable[Mapping[str, Any]]) -> Usage:
    """`usage` and the calls of one more text.

    Args:
        calls: as in `transcripts.jsonl`; tokens that a server did not tell are None and count as 0.
    """
    total = dataclasses.replace(usage, texts=usage.texts + 1)
    for call in calls:
        requests = call.get("requests", 1)
        prompt_tokens, completion_tokens = call["tokens"]
        total = dataclasses.replace(
            total,
            requests=total.requests + requests,
            kept_requests=total.kept_requests + call.get("kept_requests", 0),
            prompt_tokens=total.prompt_tokens + (prompt_tokens or 0),
            completion_tokens=total.completion_tokens + (completion_tokens or 0),
            uncounted_requests=total.uncounted_requests + (requests if None in call["tokens"] else 0),
        )
    return total
