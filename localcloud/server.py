"""moto's server on one port, behind a gate that knows which pages may speak to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask
from moto.moto_server import werkzeug_app
from werkzeug.serving import make_server

from localcloud.names import Names

READY_PATH = "/_ready"  # no bucket can have this name
_UNKNOWN_NAME = "This is the stand-in for S3, asked by a name that is not its own. NINEFOLD_CLOUD_NAMES gives it more."
_Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class PortTaken(Exception):
    """It cannot listen there. Its text says where and why."""


class Server:
    """Listens at once; `/_ready` answers 200 from `ready.set()` on. Raises PortTaken."""

    def __init__(self, host: str, port: int, origins: tuple[str, ...], names: Names) -> None:
        # moto lets every page of the internet speak to it, and whoever may create functions runs code here.
        # Without its rule the bucket's own CORS configuration decides, as on AWS.
        werkzeug_app.DISABLE_GLOBAL_CORS = True  # type: ignore[attr-defined]
        self.ready = threading.Event()
        application = werkzeug_app.DomainDispatcherApplication(_application)
        gate = _Gate(application, origins, names, self.ready)
        listener = _listen(host, port)
        self._server = make_server(host, port, gate, threaded=True, request_handler=_Handler, fd=listener.detach())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, also when it was to choose."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answers from now on, in threads of its own."""
        self._thread.start()

    def close(self) -> None:
        """Takes no more requests."""
        self._server.shutdown()
        self._server.server_close()


class _Gate:
    """Refuses pages that are none of ours: a form on any page can post to this machine, and nobody asks for keys.

    A page is known by its origin, or by the name that its browser asked for this machine by.
    """

    def __init__(self, application: _Wsgi, origins: tuple[str, ...], names: Names, ready: threading.Event) -> None:
        self._application = application
        self._origins = origins
        self._names = names
        self._ready = ready

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, origin = environ.get("PATH_INFO", ""), environ.get("HTTP_ORIGIN")
        if path == READY_PATH:
            return _answer(start_response, "200 OK" if self._ready.is_set() else "503 Service Unavailable")
        if path.startswith("/moto-api"):  # resets everything
            return _answer(start_response, "404 Not Found")
        anybody = "*" in self._origins
        if origin and origin not in self._origins and not anybody:
            return _answer(start_response, "403 Forbidden")
        host = environ.get("HTTP_HOST")
        if host and host not in self._names and not anybody:
            return _answer(start_response, "403 Forbidden", f"{_UNKNOWN_NAME}\n")
        try:
            return self._application(environ, start_response)
        finally:
            # Request and environment hold each other, and so the body, until the garbage collector comes by.
            environ.pop("werkzeug.request", None)


class _Handler(werkzeug_app.MotoRequestHandler):
    """No line for each request; what goes wrong is still told."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


def _application(service: Any) -> Flask:
    application = werkzeug_app.create_backend_app(service)
    application.debug = False  # in debug mode Flask ties each request into a knot, with its body
    return application


def _answer(start_response: Any, status: str, words: str = "") -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(words)))])
    return [words.encode("ascii")]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"port {port} cannot be had at {host} ({error.strerror or error})") from None
    listener.listen(128)
    return listener
