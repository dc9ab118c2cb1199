"""One kept-alive connection, a request at a time, by libcurl: it waits without holding Python's lock.

libcurl also takes a refusal that comes before the body is read, and follows no redirects unless told to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import certifi
import pycurl

from cli.loadtest.plan import Body, Plan

TIMEOUT, BROKEN, NOT_UNDERSTOOD = "timeout", "connection broken", "broken answer"
UNKNOWN_HOST, NO_TLS = "unknown host", "TLS failed"
UNREACHED: dict[int | str, str] = {
    pycurl.E_COULDNT_CONNECT: "connection refused",
    pycurl.E_COULDNT_RESOLVE_HOST: UNKNOWN_HOST,
    pycurl.E_SSL_CONNECT_ERROR: NO_TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: NO_TLS,
}
_KINDS: dict[int | str, str] = UNREACHED | {
    pycurl.E_OPERATION_TIMEDOUT: TIMEOUT,
    pycurl.E_UNSUPPORTED_PROTOCOL: NOT_UNDERSTOOD,  # the answer is no HTTP
    pycurl.E_FTP_WEIRD_SERVER_REPLY: NOT_UNDERSTOOD,  # nor FTP: libcurl's code is for any protocol
}
_BUFFER = 1 << 18
_HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Answer:
    """What came back. `problem`: the kind of error, "" for none. `images`: rows that are ok; `rows`: the others' codes.

    `data`: the body as it came. `variant`: the model and its precision, as far as the answer names them.
    """

    problem: str
    images: int = 0
    rows: tuple[str, ...] = ()
    data: bytes = b""
    variant: str = ""


class Connection:
    """Asks what a plan asks."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._parts: list[bytes] = []
        self._body: Body | None = None
        self._reader = BytesIO()
        self._header_length = 0
        self._curl = curl = pycurl.Curl()
        curl.setopt(pycurl.URL, plan.url)
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.TIMEOUT_MS, max(int(plan.timeout * 1000), 1))
        curl.setopt(pycurl.PROXY, "")  # it is the server that is tested
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.CAINFO, certifi.where())
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.WRITEFUNCTION, self._parts.append)
        if plan.infer:
            curl.setopt(pycurl.HEADERFUNCTION, self._header)

    def ask(self, body: Body) -> Answer:
        """One request, within the plan's `timeout`. Raises nothing that a network can cause."""
        curl = self._curl
        if body is not self._body:
            self._take(body)
        self._parts.clear()
        self._header_length = 0
        self._reader.seek(0)
        try:
            curl.perform()
        except pycurl.error as error:
            return Answer(_KINDS.get(error.args[0], BROKEN))
        return self._answer(curl.getinfo(pycurl.RESPONSE_CODE), b"".join(self._parts))

    @property
    def sent(self) -> int:
        """Bytes of the last request's body that went out: of a refused connection none, of a refused body a part."""
        return int(self._curl.getinfo(pycurl.SIZE_UPLOAD_T))

    def _take(self, body: Body) -> None:
        """What is set once and not for each request, which would cost as much again as asking."""
        self._body, self._reader = body, BytesIO(body.data)
        # Not POSTFIELDS: with that, libcurl would silently send a request again whose connection broke.
        self._curl.setopt(pycurl.READFUNCTION, self._reader.read)
        self._curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(body.data))
        self._curl.setopt(pycurl.HTTPHEADER, [*self._plan.headers, *body.headers, "Expect:"])

    def close(self) -> None:
        """Ends the connection."""
        self._curl.close()

    def _header(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name.lower() == _HEADER_LENGTH.encode() and value.strip().isdigit():
            self._header_length = int(value)

    def _answer(self, status: int, data: bytes) -> Answer:
        if status != 200:
            return Answer(f"status {status}", data=data)
        return _understood(data, self._header_length, self._plan.images, self._plan.infer)


@lru_cache(256)  # the same picture has the same answer, and reading it anew costs as much as asking
def _understood(data: bytes, header_length: int, images: int, infer: bool) -> Answer:
    try:
        body = json.loads(data[: header_length or None])
        rows = _inferred(body, images) if infer else _rows(body["results"])
        named = ("model_name", "model_version") if infer else ("model", "precision")
        variant = " ".join(str(body[name]) for name in named if body.get(name))
    except (ValueError, KeyError, TypeError, RecursionError):  # the last: brackets in brackets without end
        return Answer(NOT_UNDERSTOOD, data=data)
    if len(rows) != images:
        return Answer(NOT_UNDERSTOOD, data=data)
    bad = tuple(row for row in rows if row)
    return Answer("row errors" if bad else "", len(rows) - len(bad), bad, data, variant)


def _rows(results: Sequence[dict[str, Any]]) -> list[str]:
    """For each row its error's code, "" for none."""
    return ["" if row["status"] == "ok" else str(row["error"]["code"]) for row in results]


def _inferred(body: dict[str, Any], images: int) -> list[str]:
    """The protocol has no errors of rows; the first dimension of each output is the batch."""
    shapes = [output["shape"] for output in body["outputs"]]
    return [""] * images if shapes and all(shape[:1] == [images] for shape in shapes) else []
