"""`make run`: everything on this machine, from one terminal, until Ctrl-C. A further process is one more Part."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from scripts.parts import Part, PartDied, StopRequest, say, together, wait_until_ready, wait_until_stopped
from scripts.ports import read_port, require_all_free, require_free
from scripts.refusal import AGAIN, Refusal, guarded

ROOT = Path(__file__).resolve().parent.parent
_BUILD_GIGABYTES = 0.5


def main() -> int:
    """0 after Ctrl-C or SIGTERM, 1 when something cannot be had or a part died."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host = os.environ.get("NINEFOLD_HOST") or "127.0.0.1"
    parts = the_parts(host, read_port("NINEFOLD_PORT", 8000), read_port("NINEFOLD_PAGE_PORT", 8501))
    if len({part.port for part in parts}) < len(parts):
        raise Refusal("give NINEFOLD_PORT and NINEFOLD_PAGE_PORT different values.")
    require_all_free(parts)
    ensure_model()
    # Again: a build takes minutes, and whoever took a port meanwhile would answer in our place and look ready.
    require_all_free(parts)
    run(parts)
    return 0


def the_parts(host: str, api_port: int, page_port: int) -> list[Part]:
    """What runs, as data."""
    local = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  # compared, not bound
    api = f"http://{local}:{api_port}"
    common = {**os.environ, "PYTHONUNBUFFERED": "1", "NINEFOLD_HOST": host, "NINEFOLD_PORT": str(api_port)}
    page_options = {
        "server.address": host,
        "server.port": page_port,
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
        "logger.hideWelcomeMessage": "true",
    }
    page_command = [sys.executable, "-m", "streamlit", "run", "app.py"]
    page_command += [f"--{name}={value}" for name, value in page_options.items()]
    return [
        Part(
            name="API",
            command=[sys.executable, "-m", "backend"],
            cwd=ROOT,
            env={"NINEFOLD_LOG_FORMAT": "console", **common},
            host=host,
            port=api_port,
            port_setting="NINEFOLD_PORT",
            ready_url=f"{api}/readyz",
            finish_seconds=float(os.environ.get("NINEFOLD_SHUTDOWN_SECONDS") or 30) + 5,
        ),
        Part(
            name="page",
            command=page_command,
            cwd=ROOT / "frontend",
            env={"NINEFOLD_API_URL": api, **common},
            host=host,
            port=page_port,
            port_setting="NINEFOLD_PAGE_PORT",
            ready_url=f"http://{local}:{page_port}/_stcore/health",
            finish_seconds=10,
        ),
    ]


def ensure_model() -> None:
    """Some model must be there to answer; the command builds what is missing and says why it is which."""
    models = ROOT / (os.environ.get("NINEFOLD_MODELS_DIR") or "models")
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < _BUILD_GIGABYTES and not list(models.glob("*/*/card.json")):
        raise Refusal(
            f"free {_BUILD_GIGABYTES - free:.1f} GB on the disk of {ROOT}, {AGAIN}: building the model needs about "
            f"{_BUILD_GIGABYTES} GB, and {free:.1f} GB are free."
        )
    code = subprocess.run([sys.executable, "-m", "cli.main", "models", "build"], cwd=ROOT, check=False).returncode
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        raise Refusal(f"there is no model to answer with (`ninefold models build` ended with {code}): see above.")


def run(parts: Sequence[Part]) -> None:
    """Starts the parts, tells where they are, and returns when the end was asked for."""
    stop = StopRequest()
    say(f"Starting the {' and the '.join(part.name for part in parts)} …")
    try:
        with together(parts, stop) as running:
            if wait_until_ready(running, stop):
                announce(parts)
                wait_until_stopped(running, stop)
            say("Stopping: what was accepted is finished first (Ctrl-C again: at once) …")
    except PartDied as died:
        require_free(died.part)
        raise Refusal(f"{died}, so everything was stopped: its last lines above say why.") from None
    say("Stopped.")


def announce(parts: Sequence[Part]) -> None:
    """The frame with the addresses and the model that answers."""
    api, page = (f"http://{_shown(part.host)}:{part.port}" for part in parts[:2])
    name, reason = answering_model(parts[0])
    table = Table.grid(padding=(0, 2))
    table.add_row("Page", f"[bold]{page}[/bold]")
    table.add_row("API", f"{api}  (try it: {api}/docs)")
    table.add_row("Model", f"{name}{f': {reason}' if reason else ''}")
    table.add_row("", "")
    table.add_row("Ctrl-C", "stops both")
    console = Console(highlight=False)
    console.print(Panel.fit(table, title="[bold]Ninefold is ready[/bold]", box=box.ROUNDED, padding=(1, 2)))


def _shown(host: str) -> str:
    return "localhost" if host in ("127.0.0.1", "0.0.0.0") else host  # noqa: S104  # compared, not bound


def answering_model(api: Part) -> tuple[str, str | None]:
    """The default model's name, and why it is that one where another was meant."""
    try:
        address = api.ready_url.replace("/readyz", "/v1/models")
        models = httpx.get(address, trust_env=False, timeout=5).raise_for_status().json()["models"]
        default = next(model for model in models if model["default"])
        return default["name"], default["reason"]
    except (httpx.HTTPError, KeyError, StopIteration) as error:
        return "unknown", f"the API did not say ({type(error).__name__})"


if __name__ == "__main__":
    sys.exit(guarded(main))
