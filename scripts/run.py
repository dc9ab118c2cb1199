"""`make run`: everything on this machine, from one terminal, until Ctrl-C. A further process is one more Part."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from inference.devices import faster_precision
from scripts.package import package
from scripts.parts import (
    Errand,
    Part,
    PartDied,
    Running,
    StopRequest,
    say,
    together,
    wait_until_ready,
    wait_until_stopped,
)
from scripts.ports import read_port, require_all_free, require_free
from scripts.refusal import AGAIN, Refusal, guarded

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
CLOUD = "cloud"
_EVERYWHERE = "0.0.0.0"  # noqa: S104  # compared, not bound
_BUILD_GIGABYTES = 0.5


def main() -> int:
    """0 after Ctrl-C or SIGTERM, 1 when something cannot be had or a part died."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parts = the_parts(read_places(os.environ), os.environ)
    if len({part.port for part in parts}) < len(parts):
        raise Refusal(f"give {listed([part.port_setting for part in parts])} different values.")
    require_all_free(parts)
    ensure_model()
    if any(part.name == CLOUD for part in parts):
        package(BUILD)
    # Again: a build takes minutes, and whoever took a port meanwhile would answer in our place and look ready.
    require_all_free(parts)
    run(parts, errands(os.environ))
    return 0


@dataclass(frozen=True)
class Places:
    """Where the parts listen."""

    host: str
    api_port: int
    page_port: int
    cloud_host: str
    cloud_port: int

    @property
    def api(self) -> str:
        """The API's address on this machine."""
        return f"http://{_reached(self.host)}:{self.api_port}"

    @property
    def page(self) -> str:
        """The page's address on this machine."""
        return f"http://{_reached(self.host)}:{self.page_port}"

    @property
    def cloud(self) -> str:
        """The address of S3, Lambda and Glue on this machine."""
        return f"http://{_reached(self.cloud_host)}:{self.cloud_port}"


def read_places(environment: Mapping[str, str]) -> Places:
    """As the environment says."""
    return Places(
        host=environment.get("NINEFOLD_HOST") or "127.0.0.1",
        api_port=read_port(environment, "NINEFOLD_PORT", 8000),
        page_port=read_port(environment, "NINEFOLD_PAGE_PORT", 8501),
        cloud_host=environment.get("NINEFOLD_CLOUD_HOST") or "127.0.0.1",
        cloud_port=read_port(environment, "NINEFOLD_CLOUD_PORT", 9000),
    )


def the_parts(places: Places, environment: Mapping[str, str]) -> list[Part]:
    """What runs, as data. Whoever names a bucket has an S3 and a Glue of their own: then the stand-in stays out."""
    names = dict.fromkeys([_reached(places.host), "127.0.0.1", "localhost"])
    origins = ",".join(f"http://{name}:{places.page_port}" for name in names)
    common = {
        **environment,
        "PYTHONUNBUFFERED": "1",
        "NINEFOLD_HOST": places.host,
        "NINEFOLD_PORT": str(places.api_port),
        "NINEFOLD_PAGE_ORIGINS": environment.get("NINEFOLD_PAGE_ORIGINS") or origins,
        "NINEFOLD_CLOUD_NAMES": _and_that_of(environment, "NINEFOLD_CLOUD_NAMES", "NINEFOLD_S3_PUBLIC_ENDPOINT"),
    }
    if places.host != _EVERYWHERE:  # there all names are good until one is given
        common["NINEFOLD_HOSTS"] = _and_that_of(environment, "NINEFOLD_HOSTS", "NINEFOLD_PUBLIC_API_URL")
    if environment.get("NINEFOLD_BUCKET"):
        return [_api(places, common), _page(places, common)]
    common = {name: value for name, value in common.items() if not name.startswith("AWS_")} | _local_aws(places, common)
    return [_api(places, common), _page(places, common), _cloud(places, common)]


def _local_aws(places: Places, environment: Mapping[str, str]) -> dict[str, str]:
    """How the server finds the stand-in, whatever this machine has for AWS; its keys are no secret."""
    around = ",".join(filter(None, [environment.get("NO_PROXY") or environment.get("no_proxy"), "127.0.0.1,localhost"]))
    return {
        "NINEFOLD_BUCKET": "ninefold",
        "NINEFOLD_S3_ENDPOINT": places.cloud,
        "NINEFOLD_GLUE_JOB": environment.get("NINEFOLD_GLUE_JOB") or "ninefold-preprocess",
        "AWS_ACCESS_KEY_ID": "localcloud",
        "AWS_SECRET_ACCESS_KEY": "localcloud",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": around,
        "no_proxy": around,
    }


def _api(places: Places, environment: Mapping[str, str]) -> Part:
    return Part(
        name="API",
        command=[sys.executable, "-m", "backend"],
        cwd=ROOT,
        env={"NINEFOLD_LOG_FORMAT": "console", **environment},
        host=places.host,
        port=places.api_port,
        port_setting="NINEFOLD_PORT",
        ready_url=f"{places.api}/readyz",
        finish_seconds=float(environment.get("NINEFOLD_SHUTDOWN_SECONDS") or 30) + 5,
    )


def _page(places: Places, environment: Mapping[str, str]) -> Part:
    options = {
        "server.address": places.host,
        "server.port": places.page_port,
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
        "logger.hideWelcomeMessage": "true",
    }
    command = [sys.executable, "-m", "streamlit", "run", "app.py"]
    return Part(
        name="page",
        command=[*command, *(f"--{name}={value}" for name, value in options.items())],
        cwd=ROOT / "frontend",
        env={"NINEFOLD_API_URL": places.api, "NINEFOLD_PUBLIC_API_URL": places.api, **environment},
        host=places.host,
        port=places.page_port,
        port_setting="NINEFOLD_PAGE_PORT",
        ready_url=f"{places.page}/_stcore/health",
        finish_seconds=10,
    )


def _cloud(places: Places, environment: Mapping[str, str]) -> Part:
    own = {"NINEFOLD_CLOUD_HOST": places.cloud_host, "NINEFOLD_CLOUD_PORT": str(places.cloud_port)}
    return Part(
        name=CLOUD,
        command=[sys.executable, "-m", "localcloud"],
        cwd=ROOT,
        env={**environment, **own, "NINEFOLD_CODE_DIR": str(BUILD)},
        host=places.cloud_host,
        port=places.cloud_port,
        port_setting="NINEFOLD_CLOUD_PORT",
        ready_url=f"{places.cloud}/_ready",
        finish_seconds=10,
    )


def _and_that_of(environment: Mapping[str, str], names: str, address: str) -> str:
    """Names that somebody gave, and the name in the address by which browsers are told to come."""
    named = urlsplit(environment.get(address, "")).hostname
    return ",".join(filter(None, [environment.get(names), named]))


def _reached(host: str) -> str:
    return "127.0.0.1" if host == _EVERYWHERE else host


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


def errands(environment: Mapping[str, str]) -> list[Errand]:
    """Making int8 (fp16 on CUDA) of what answers, unless it is there or another precision was asked for.

    The server changes to it by itself. It takes a minute of both processors, so it stands behind everybody else.
    """
    if environment.get("NINEFOLD_PRECISION"):
        return []
    command = [*_POLITELY, sys.executable, "-m", "cli.main", "models", "quantize"]
    precision = faster_precision(environment.get("NINEFOLD_DEVICE", "").strip().upper())
    return [Errand(precision, command, ROOT, {**environment, "PYTHONUNBUFFERED": "1"}, finish_seconds=1)]


# Where Linux shares the processor out by sessions, niceness counts within one only: there the session steps back.
_POLITELY = ("sh", "-c", '{ echo 19 > /proc/self/autogroup; } 2> /dev/null; exec nice -n 19 "$@"', "sh")


def run(parts: Sequence[Part], afterwards: Sequence[Errand] = ()) -> None:
    """Starts the parts, tells where they are, starts the errands, and returns when the end was asked for."""
    stop = StopRequest()
    say(f"Starting {listed([f'the {part.name}' for part in parts])} …")
    try:
        with together(parts, stop) as running:
            if wait_until_ready(running, stop):
                announce(parts)
                running.extend(Running(errand) for errand in afterwards)
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
    table.add_row("S3", where_s3_is(parts))
    table.add_row("", "")
    table.add_row("Ctrl-C", "stops both" if len(parts) == 2 else f"stops all {len(parts)}")
    console = Console(highlight=False)
    console.print(Panel.fit(table, title="[bold]Ninefold is ready[/bold]", box=box.ROUNDED, padding=(1, 2)))


def where_s3_is(parts: Sequence[Part]) -> str:
    """Where batches lie, and how long."""
    cloud = next((part for part in parts if part.name == CLOUD), None)
    if cloud is None:
        return f"bucket {parts[0].env.get('NINEFOLD_BUCKET', '')}, yours (NINEFOLD_BUCKET)"
    return f"http://{_shown(cloud.host)}:{cloud.port}\n(uploads and results live as long as this does)"


def listed(words: Sequence[str]) -> str:
    """For example "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _shown(host: str) -> str:
    return "localhost" if host in ("127.0.0.1", "0.0.0.0") else host  # noqa: S104  # compared, not bound


def answering_model(api: Part) -> tuple[str, str | None]:
    """The default model's name, and why it is that one where another was meant."""
    try:
        address = api.ready_url.replace("/readyz", "/v1/models")
        key = api.env.get("NINEFOLD_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        models = httpx.get(address, headers=headers, trust_env=False, timeout=5).raise_for_status().json()["models"]
        default = next(model for model in models if model["default"])
        return default["name"], default["reason"]
    except (httpx.HTTPError, KeyError, StopIteration) as error:
        return "unknown", f"the API did not say ({type(error).__name__})"


if __name__ == "__main__":
    sys.exit(guarded(main))
