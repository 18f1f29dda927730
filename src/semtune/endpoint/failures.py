"""What went wrong between the client and the server, as one sentence that says what to do and shows no key."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from semtune.endpoint.protocol import CHAT, BadReplyError, Request
from semtune.endpoint.settings import ServerSettings
from semtune.errors import EndpointError, first_line, with_stop

LONGEST = 200
"""Characters of a server's own words in a message."""
KEPT = "the answers so far are kept, so a repeated run goes on from here"


def failure(error: Exception, request: Request, settings: ServerSettings, offered: Sequence[str] = ()) -> EndpointError:
    """The error that a user sees in place of `error`, one of the client's or a BadReplyError.

    Args:
        offered: the names of the server's models, where it told them.
    """
    import openai

    sentence = _sentence(error, request, settings, offered, openai)
    if settings.key:
        sentence = sentence.replace(settings.key, "…")
    return EndpointError(with_stop(sentence))


def _sentence(error: Exception, request: Request, settings: ServerSettings, offered: Sequence[str], openai: Any) -> str:
    url = settings.url
    if isinstance(error, openai.APITimeoutError):
        return (
            f"{url} did not answer within {settings.timeout_seconds:g} seconds{_tries(settings)}; raise "
            f"--timeout-seconds or lower --requests-in-flight ({KEPT})"
        )
    if isinstance(error, openai.APIConnectionError):
        reason = first_line(error.__cause__ or error)
        return f"{url} cannot be reached ({reason}){_tries(settings)}; is the server running, and is the URL right?"
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, request, settings, offered)
    if isinstance(error, BadReplyError) and request.scores:
        return (
            f"{url} gave an answer {error}, and ranking labels needs them; choose a server that echoes them on "
            "/completions, or a strategy or answer that generates text"
        )
    if isinstance(error, BadReplyError):
        return (
            f"{url} gave an answer {error}; is it a server of the OpenAI-compatible protocol, and ends its URL in /v1?"
        )
    return f"{url} gave an answer that is no JSON ({first_line(error)[:LONGEST]}); {KEPT}"


def _of_status(error: Any, request: Request, settings: ServerSettings, offered: Sequence[str]) -> str:
    """The sentence about an answer of status 400 and up."""
    status, url = error.status_code, settings.url
    said = f"status {status}: {_said(error)}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        if settings.key is None:
            return f"{url} wants a key ({said}); put it into the environment variable {settings.key_variable}"
        return f"{url} refuses the key in the environment variable {settings.key_variable} ({said})"
    if status == HTTPStatus.NOT_FOUND:
        if offered and settings.model not in offered:
            return f'{url} has no model "{settings.model}" ({said}); it offers {", ".join(offered)}'
        other = "completions" if request.path == CHAT else "chat"
        return (
            f'{url} has no {request.path}, or no model "{settings.model}" ({said}); does the URL end in /v1, and is '
            f"--model the server's name? --endpoint-api {other} asks its other interface"
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return (
            f"{url} has had too many requests{_tries(settings)} ({said}); lower --requests-in-flight, or wait ({KEPT})"
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"{url} failed{_tries(settings)} ({said}); {KEPT}"
    if request.scores:
        return (
            f"{url} does not give the log-probabilities of a text ({said}); choose another server, or a strategy or "
            "answer that generates text"
        )
    if "context" in said.lower() and "length" in said.lower():
        return f"{url} has no room for so long a prompt ({said}); lower the strategy's prompt_tokens"
    return f"{url} refuses a request ({said})"


def _tries(settings: ServerSettings) -> str:
    """How often it was tried, as a clause."""
    return "" if not settings.retries else f", tried {settings.retries + 1} times"


def _said(error: Any) -> str:
    """The server's own words in an error of the client."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body.get("error") or body
    text = " ".join(str(body or HTTPStatus(error.status_code).phrase).split())
    return text.rstrip(".") if len(text) <= LONGEST else text[:LONGEST] + "…"
