"""Requests to a server through the protocol's own client: several in flight, repeated with backoff, kept on disk."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from semtune.endpoint.cache import AnswerCache, key_of
from semtune.endpoint.failures import failure
from semtune.endpoint.protocol import BadReplyError, Reply, Request, read_reply
from semtune.endpoint.settings import ServerSettings
from semtune.runtime.imports import heavy_imports

T = TypeVar("T")
NO_KEY = "none"
"""What a server without keys gets, as the client insists on one."""


class Client:
    """Asks one server. Usable from several threads between `with client:`; all share `requests_in_flight`."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._cache = AnswerCache.of_user() if settings.cache else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        """Held while work is handed to the loop, so that none comes after the loop was told to end."""
        self._thread: threading.Thread | None = None
        self._api: Any = None
        self._in_flight: asyncio.Semaphore | None = None
        self._renamed: dict[str, str] = {}
        """Field of a request -> what this server calls it."""

    def __enter__(self) -> Client:
        with heavy_imports():
            import openai

        settings = self.settings
        self._loop = asyncio.new_event_loop()
        self._in_flight = asyncio.Semaphore(settings.requests_in_flight)
        self._api = openai.AsyncOpenAI(
            base_url=settings.url,
            api_key=settings.key or NO_KEY,
            max_retries=settings.retries,
            timeout=settings.timeout_seconds,
        )
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel what is in flight (its `send` raises CancelledError) and close all connections."""
        with self._lock:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def send(self, requests: Sequence[Request]) -> list[Reply]:
        """The answers, in order; waits for all. Raises EndpointError for the first that fails, RuntimeError outside
        `with`."""
        return self._run(self._answer_all(requests))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                work.close()
                raise RuntimeError("use `with client:` around requests")
            answers = asyncio.run_coroutine_threadsafe(work, self._loop)
        return answers.result()

    async def _answer_all(self, requests: Sequence[Request]) -> list[Reply]:
        tasks = [asyncio.ensure_future(self._answer(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _answer(self, request: Request) -> Reply:
        """The answer from disk, or else from the server, and then kept."""
        key = key_of(self.settings.url, request.path, request.body)
        known = self._kept(key, request)
        if known is not None:
            return known
        assert self._in_flight is not None
        async with self._in_flight:
            started = time.perf_counter()
            payload = await self._post(request)
            seconds = time.perf_counter() - started
        try:
            reply = replace(read_reply(request, payload), seconds=seconds)
        except BadReplyError as error:
            raise failure(error, request, self.settings) from error
        if self._cache is not None:
            self._cache.put(key, {"payload": payload, "seconds": seconds})
        return reply

    def _kept(self, key: str, request: Request) -> Reply | None:
        """The answer that is on disk; None: there is none, or a broken one."""
        found = self._cache.get(key) if self._cache is not None else None
        if found is None:
            return None
        try:
            return replace(read_reply(request, found["payload"]), seconds=float(found["seconds"]), kept=True)
        except (BadReplyError, KeyError, TypeError, ValueError):
            return None

    async def _post(self, request: Request) -> Any:
        """The server's JSON, or its text where that is none. Raises EndpointError."""
        import openai

        body = {self._renamed.get(name, name): value for name, value in request.body.items()}
        try:
            return await self._api.post(request.path, cast_to=object, body=body)
        except openai.BadRequestError as error:
            # OpenAI's own newer models know the limit of an answer by another name only.
            if "max_tokens" in body and "max_completion_tokens" in str(error):
                self._renamed["max_tokens"] = "max_completion_tokens"
                return await self._post(request)
            raise failure(error, request, self.settings) from error
        except openai.NotFoundError as error:
            raise failure(error, request, self.settings, await self._models()) from error
        except (openai.OpenAIError, ValueError) as error:
            raise failure(error, request, self.settings) from error

    async def _models(self) -> list[str]:
        """The names of the server's models; none where it does not tell."""
        import openai

        try:
            listed = await self._api.get("/models", cast_to=object)
            return [str(entry["id"]) for entry in listed["data"]]
        except (openai.OpenAIError, ValueError, KeyError, TypeError):
            return []

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._api.close()
