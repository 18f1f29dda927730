"""How a server is asked: what a run's spec says of it, checked."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from semtune.errors import EndpointError, OptionError
from semtune.records import RunSpec

CLIENT = "openai"
"""The protocol's own client library."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server, the model, and the limits of asking it."""

    url: str
    """Without a slash at its end, such as "http://localhost:8000/v1"."""
    api: Literal["chat", "completions"]
    model: str
    """The server's name of the model."""
    seed: int
    requests_in_flight: int
    """Most requests that wait for the server at once."""
    retries: int
    timeout_seconds: float
    cache: bool
    """Whether answers are kept on disk and taken from there."""
    key_variable: str
    """The environment variable with the key; the key itself is in no record."""

    @property
    def key(self) -> str | None:
        """The key, from the environment; None: there is none."""
        return os.environ.get(self.key_variable) or None


def settings_of(spec: RunSpec) -> ServerSettings:
    """The settings of a spec with an endpoint. Raises OptionError."""
    check_endpoint(spec)
    return ServerSettings(
        url=str(spec.endpoint).rstrip("/"),
        api=spec.endpoint_api,
        model=spec.model,
        seed=spec.seed,
        requests_in_flight=spec.requests_in_flight,
        retries=spec.endpoint_retries,
        timeout_seconds=spec.timeout_seconds,
        cache=spec.endpoint_cache,
        key_variable=spec.api_key_variable,
    )


def check_endpoint(spec: RunSpec) -> None:
    """Raises OptionError for a URL of another form, one with a secret in it, and a model without the server's name."""
    url = str(spec.endpoint)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        usable = False
    if not usable:
        raise OptionError(
            "--endpoint must be the URL of a server, such as http://localhost:8000/v1 or https://api.example.org/v1."
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise OptionError(
            "--endpoint must be a URL without user, password or parameters, as it is written to the run's files; give "
            f"the key in the environment variable {spec.api_key_variable}."
        )
    if spec.model == RunSpec.__dataclass_fields__["model"].default:
        raise OptionError(f"--endpoint needs --model, the name that {url} has for its model.")


def check_client() -> None:
    """Raises EndpointError where the client library is not installed. Imports nothing."""
    if importlib.util.find_spec(CLIENT) is None:
        raise EndpointError(
            f'Asking a server needs the package "{CLIENT}", which is not installed; run pip install {CLIENT}.'
        )
