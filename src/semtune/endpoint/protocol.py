"""Requests of the OpenAI-compatible protocol, and what its answers hold.

Only fields that common servers know (transformers serve, llama.cpp, vLLM, the original) are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CHAT, COMPLETIONS = "/chat/completions", "/completions"


@dataclass(frozen=True, slots=True)
class Request:
    """One POST: where to, what, and whether the answer must have log-probabilities."""

    path: str
    body: dict[str, Any]
    scores: bool = False


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token of an echoed text, the character at which it begins, and its log-probability (None: the first one)."""

    token: str
    offset: int
    logprob: float | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Token counts are None where the server does not tell them."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    scores: tuple[TokenScore, ...] = ()
    seconds: float = 0.0
    """From the first attempt to the answer, pauses included; of a kept answer, what it took then."""
    kept: bool = False
    """Whether it was on disk."""


class BadReplyError(ValueError):
    """An answer that lacks what the protocol says; the message is a clause."""


def chat_request(
    model: str, text: str, instruction: str | None, max_tokens: int, seed: int, temperature: float
) -> Request:
    """Ask for an answer to one message of the user, behind an instruction to the model."""
    messages = [{"role": "user", "content": text}]
    if instruction is not None:
        messages.insert(0, {"role": "system", "content": instruction})
    body = {"model": model, "messages": messages, "max_tokens": max_tokens}
    return Request(CHAT, {**body, "temperature": temperature, "seed": seed})


def completion_request(
    model: str, text: str, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
) -> Request:
    """Ask for the continuation of a text, which ends before the first of `stop`."""
    body: dict[str, Any] = {"model": model, "prompt": text, "max_tokens": max_tokens}
    body |= {"temperature": temperature, "seed": seed}
    return Request(COMPLETIONS, {**body, "stop": list(stop)} if stop else body)


def scoring_request(model: str, text: str) -> Request:
    """Ask for the log-probability of each token of `text`.

    One token is generated, as some servers take 0 for "without a limit". (As lm-evaluation-harness does,
    lm_eval/models/openai_completions.py.)
    """
    body = {"model": model, "prompt": text, "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}
    return Request(COMPLETIONS, body, scores=True)


def read_reply(request: Request, payload: Any) -> Reply:
    """The answer to `request` out of the server's JSON. Raises BadReplyError."""
    try:
        choice = payload["choices"][0]
        text = choice["message"]["content"] if request.path == CHAT else choice["text"]
        usage = payload.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadReplyError("without an answer in it") from error
    if text is None and request.path == CHAT:  # the length was used up by hidden reasoning, or a filter struck
        text = ""
    if not isinstance(text, str):
        raise BadReplyError("whose answer is no text")
    prompt_tokens, completion_tokens = (n if isinstance(n, int) and n >= 0 else None for n in counts)
    scores = _scores(choice.get("logprobs")) if request.scores else ()
    return Reply(text, prompt_tokens, completion_tokens, scores)


def _scores(logprobs: Any) -> tuple[TokenScore, ...]:
    """The echoed tokens. Raises BadReplyError where the server gives none."""
    if not isinstance(logprobs, Mapping):
        raise BadReplyError("without log-probabilities")
    tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
        raise BadReplyError("without log-probabilities")
    offsets = logprobs.get("text_offset")
    if not isinstance(offsets, list) or len(offsets) != len(tokens):
        offsets, end = [], 0
        for token in tokens:
            offsets.append(end)
            end += len(token)
    return tuple(TokenScore(*entry) for entry in zip(tokens, offsets, values, strict=True))


def loglikelihood_of(scores: Sequence[TokenScore], start: int, end: int) -> float:
    """Sum of the log-probabilities of the tokens with characters from `start` up to `end`, in nats.

    A token that begins before `start` and reaches beyond it counts, as part of the completion is in it. Raises
    BadReplyError where a token has no log-probability, or none lies there.
    """
    inside = [s for s in scores if s.offset < end and s.offset + max(len(s.token), 1) > start]
    values = [s.logprob for s in inside]
    if not values or any(not isinstance(value, (int, float)) for value in values):
        raise BadReplyError("without log-probabilities of the text that was sent")
    return float(sum(value for value in values if value is not None))
