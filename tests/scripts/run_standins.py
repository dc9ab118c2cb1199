"""Runs stand-ins the way `make run` runs the API, the page and, unless that has no port, the cloud.

run_standins.py API_PORT "API OPTIONS" PAGE_PORT "PAGE OPTIONS" CLOUD_PORT "CLOUD OPTIONS" FINISH_SECONDS
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from scripts.parts import Part
from scripts.refusal import guarded
from scripts.run import run

STAND_IN = str(Path(__file__).with_name("standin.py"))


def part(name: str, port: str, options: str, finish_seconds: str) -> Part:
    return Part(
        name=name,
        command=[sys.executable, STAND_IN, port, *shlex.split(options)],
        cwd=Path.cwd(),
        env={**os.environ, "NINEFOLD_BUCKET": "a-bucket"},
        host="127.0.0.1",
        port=int(port),
        port_setting=f"NINEFOLD_{name.upper()}_PORT",
        ready_url=f"http://127.0.0.1:{port}/readyz",
        finish_seconds=float(finish_seconds),
    )


def main() -> int:
    *places, finish = sys.argv[1:]
    named = zip(("API", "page", "cloud"), places[::2], places[1::2], strict=True)
    run([part(name, port, options, finish) for name, port, options in named if port])
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
