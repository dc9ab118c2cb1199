"""A server that stands in for a part: answers 200 to everything, and misbehaves as told.

standin.py PORT [--finish SECONDS] [--die-after SECONDS --code N] [--deaf] [--not-ready] [--child FILE]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODELS = b'{"models": [{"name": "stand_in", "default": true, "status": "ready", "reason": "a test asked for it"}]}'


def main() -> None:
    options = read_options()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if options.not_ready else 200)
            self.end_headers()
            self.wfile.write(MODELS)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    if options.child:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(options.child).write_text(str(child.pid))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.deaf else lambda *_: finish(options.finish))
    if options.die_after is not None:
        threading.Timer(options.die_after, lambda: os._exit(options.code)).start()
    print("up", flush=True)
    server.serve_forever()


def finish(seconds: float) -> None:
    time.sleep(seconds)
    print("finished what was accepted", flush=True)
    os._exit(0)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--finish", type=float, default=0)
    parser.add_argument("--die-after", type=float)
    parser.add_argument("--code", type=int, default=0)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--not-ready", action="store_true")
    parser.add_argument("--child")
    return parser.parse_args()


if __name__ == "__main__":
    main()
