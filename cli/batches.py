"""The API of batches as a client sees it: one method a route, patient where the server is away for a moment."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from cli.server import CannotAnswer, client_for, message_of, no_server

__all__ = ["Batch", "BatchApi", "Refused"]

Batch = dict[str, Any]
"""BATCH, as the server's /docs show it."""

PATIENCE_SECONDS = 300
"""How long a server may be away while a batch goes on: it restarts, its storage restarts."""
FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 15
_CLOSING_SECONDS = 3
_ROW_ATTEMPTS = 5


class Refused(Exception):
    """The server, or what became of the batch, says no: a stable `code`, and a message in words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Away(Exception):
    def __init__(self, cause: Refused | CannotAnswer, retry_after: float | None = None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.retry_after = retry_after


class BatchApi:
    """A server's batches. All methods raise Refused, and CannotAnswer if nobody answers for some minutes."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.http = client_for(url, httpx.AsyncClient, key)
        self.url = str(self.http.base_url).rstrip("/")

    async def overview(self) -> dict[str, Any]:
        """{"batches", "notice", "limits"}; asked first, and at once: nobody there is the answer, too."""
        answer = await self._once("GET", "/v1/batches")
        if not isinstance(answer, dict) or not isinstance(answer.get("limits"), dict):
            raise CannotAnswer(f"{self.url} answers, and not as a Ninefold server with batches does")
        return answer

    async def models(self) -> list[dict[str, Any]]:
        """Every model, ready or missing."""
        return list((await self._patiently("GET", "/v1/models"))["models"])

    async def create(self, file_name: str, size_bytes: int) -> dict[str, Any]:
        """{"id", "upload": {"part_size", "parts"}}."""
        body = {"filename": file_name, "size_bytes": size_bytes}
        return dict(await self._patiently("POST", "/v1/batches", json=body))

    async def urls(self, batch: str, parts: list[int]) -> dict[int, str]:
        """Where each of these parts (64 at the most) may be put for a quarter of an hour."""
        answer = await self._patiently("POST", f"/v1/batches/{batch}/upload/urls", json={"parts": parts})
        return {int(part): url for part, url in answer["urls"].items()}

    async def arrived(self, batch: str) -> dict[int, int]:
        """The size in bytes of each part that is there."""
        answer = await self._patiently("GET", f"/v1/batches/{batch}/upload")
        return {part["part"]: part["size_bytes"] for part in answer["arrived"]}

    async def complete(self, batch: str) -> Batch:
        """All parts are there. Refused: parts_missing, zip_too_large."""
        return dict(await self._patiently("POST", f"/v1/batches/{batch}/upload/complete"))

    async def get(self, batch: str) -> Batch:
        """How it is now."""
        return dict(await self._patiently("GET", f"/v1/batches/{batch}"))

    async def preprocess(self, batch: str, model: str | None) -> Batch:
        """Starts a job run for this model's transform."""
        return dict(await self._patiently("POST", f"/v1/batches/{batch}/preprocess", json=_told(model=model)))

    async def predict(self, batch: str, model: str | None, precision: str | None) -> Batch:
        """Starts predicting. Refused: wrong_state, needs_preprocessing, model_missing, unknown_model."""
        body = _told(model=model, precision=precision)
        return dict(await self._patiently("POST", f"/v1/batches/{batch}/predict", json=body))

    async def rows(self, batch: str, model: str, precision: str) -> AsyncGenerator[dict[str, Any], None]:
        """The result rows, one after the other as they arrive; a connection that breaks is taken up where it broke."""
        taken = attempts = 0
        while True:
            try:
                async for row in self._rows_from(taken, batch, model, precision):
                    taken, attempts = taken + 1, 0
                    yield row
            except (httpx.TransportError, _Away) as error:
                attempts += 1
                if attempts >= _ROW_ATTEMPTS:
                    message = f"The results cannot be fetched ({error}). The batch is on the server still: {batch}."
                    raise Refused("results_broken", message) from error
            else:
                return

    async def _rows_from(
        self, first: int, batch: str, model: str, precision: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        params = {"format": "jsonl", "model": model, "precision": precision}
        async with self.http.stream("GET", f"/v1/batches/{batch}/results", params=params) as response:
            if not response.is_success:
                await response.aread()
                raise _refusal(response)
            number = 0
            async for line in _lines(response):
                if line and number >= first:
                    yield _row(line)
                number += bool(line)

    async def delete(self, batch: str) -> None:
        """Removes the batch and all that became of it."""
        await self._patiently("DELETE", f"/v1/batches/{batch}")

    async def forget(self, batch: str) -> None:
        """Removes a batch whose upload is given up: once, briefly, and in silence."""
        try:
            await self.http.delete(f"/v1/batches/{batch}", timeout=_CLOSING_SECONDS)
        except httpx.HTTPError:
            return  # the bucket's lifecycle removes parts that belong to nothing

    async def _patiently(self, method: str, path: str, **options: Any) -> Any:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Away), wait=_wait, stop=stop_after_delay(PATIENCE_SECONDS), reraise=True
        )
        try:
            return await retrying(self._once, method, path, patient=True, **options)
        except _Away as away:
            raise away.cause from away

    async def _once(self, method: str, path: str, *, patient: bool = False, **options: Any) -> Any:
        try:
            response = await self.http.request(method, path, **options)
        except (httpx.TransportError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            cause = no_server(self.http.base_url, error)
            raise (_Away(cause) if patient else cause) from error
        if not response.is_success:
            refusal = _refusal(response)
            raise refusal if patient or not isinstance(refusal, _Away) else refusal.cause
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise CannotAnswer(f"{response.url} answered, and not as a Ninefold server does") from error


def _told(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Split at line feeds alone: names may hold what else Unicode, and so httpx, takes for the end of a line."""
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
    yield rest


def _row(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError as error:
        raise Refused("results_broken", "The server sent a result row that is no JSON.") from error


def _refusal(response: httpx.Response) -> Refused | _Away:
    try:
        code = str(response.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        code = f"http_{response.status_code}"
    refused = Refused(code, message_of(response))
    if response.status_code in (429, 502, 503, 504) and code != "batches_off":
        return _Away(refused, _seconds(response.headers.get("retry-after")))
    return refused


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Away) and error.retry_after is not None:
        return min(error.retry_after, _LONGEST_WAIT_SECONDS)
    return wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS)(state)
