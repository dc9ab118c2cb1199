"""Runs two stand-ins the way `make run` runs the API and the page.

run_standins.py API_PORT "API OPTIONS" PAGE_PORT "PAGE OPTIONS" FINISH_SECONDS
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
        env=os.environ,
        host="127.0.0.1",
        port=int(port),
        port_setting=f"NINEFOLD_{name.upper()}_PORT",
        ready_url=f"http://127.0.0.1:{port}/readyz",
        finish_seconds=float(finish_seconds),
    )


def main() -> int:
    api_port, api_options, page_port, page_options, finish = sys.argv[1:]
    run([part("API", api_port, api_options, finish), part("page", page_port, page_options, finish)])
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
