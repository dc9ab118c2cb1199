"""A hub of one repository on loopback: what transformers asks of the Hugging Face hub to load weights at a commit."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class FakeHub:
    """Serves the files of `folder` as `repository` at `revision`, and nothing else."""

    def __init__(self, folder: Path, repository: str, revision: str) -> None:
        self.requests: list[str] = []
        requests, prefix = self.requests, f"/{repository}/resolve/{revision}/"

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def _answer(self, *, with_body: bool) -> None:
                path = urlsplit(self.path).path
                requests.append(f"{self.command} {path}")
                file = folder / path.removeprefix(prefix) if path.startswith(prefix) else None
                data = file.read_bytes() if file and file.is_file() else None
                self.send_response(404 if data is None else 200)
                self.send_header("X-Repo-Commit", revision)
                self.send_header("Content-Length", str(len(data or b"")))
                if data is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                else:
                    self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.end_headers()
                if with_body and data:
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Nobody is there any more: connections are refused."""
        self._server.shutdown()
        self._server.server_close()
