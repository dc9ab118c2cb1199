"""A host: a folder with .env and secrets, the production overlay's containers, and what rolls them."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from scripts.env_file import read_value
from tests.compose.engine import ROOT, docker
from tests.servers import free_port

NINEFOLD = Path(sys.executable).parent / "ninefold"
PASSWORD = "nine lives are enough"  # of a page that lives for a minute
# Of backend.env: a setting that Compose says nothing of, and one that it sets itself.
SETTINGS = "# of this host\nNINEFOLD_MAX_INFER_IMAGES='65'\nNINEFOLD_DRAIN_SECONDS=0\n"
_FILES = ("docker-compose.yml", "docker-compose.production.yml", "tests/compose/aws.yml")


class Site:
    """One host. `url` is where the world sees it; `key` is good for its API, `page_key` is the page's own."""

    def __init__(self, folder: Path, port: int, key: str, page_key: str) -> None:
        self.folder = folder
        self.port = port
        self.key = key
        self.page_key = page_key
        self.url = f"https://localhost:{port}"

    def client(self, key: str | None = None) -> httpx.Client:
        """Through the proxy, whose certificate is of its own making."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, verify=False, timeout=30, headers=headers, trust_env=False)

    def live(self, key: str | None = None, query: str = "", **more: Any) -> ClientConnection:
        """A live connection through the proxy. Raises InvalidStatus where it is refused."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        address = f"wss{self.url.removeprefix('https')}/v1/live{query}"
        how = {"ssl": trusting(), "proxy": None, "compression": None, "close_timeout": 2}
        return connect(address, additional_headers=headers, **how, **more)

    def roll(self, bake: float = 12, ready: float = 60, **images: str) -> subprocess.CompletedProcess[str]:
        """As on a host. The times are shorter than there."""
        named = [word for service, image in images.items() for word in (f"--{service}", image)]
        limits = ["--ready-seconds", str(ready), "--bake-seconds", str(bake)]
        command = [sys.executable, "-m", "scripts.roll", "--directory", str(self.folder), *named, *limits]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)

    def compose(self, *arguments: str) -> str:
        return docker("compose", "--env-file", ".env", *arguments, cwd=self.folder)

    def running(self, service: str) -> list[str]:
        """The images of the service's containers."""
        ids = self.compose("ps", "--all", "--quiet", service).split()
        return [docker("inspect", "--format", "{{.Config.Image}}", each) for each in ids]

    def named(self, variable: str) -> str:
        """What .env says."""
        return read_value(self.folder / ".env", variable)


def trusting() -> ssl.SSLContext:
    """Takes the proxy's own certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextmanager
def site_of(images: dict[str, str], folder: Path) -> Iterator[Site]:
    """A host from nothing: its files, then its first roll."""
    port = free_port()
    settings = {
        "COMPOSE_FILE": ":".join(str(ROOT / name) for name in _FILES),
        "COMPOSE_PROJECT_NAME": f"ninefold-site-{os.getpid()}",
        "NINEFOLD_DOMAIN": "localhost",
        "NINEFOLD_PUBLIC_PORT": f":{port}",
        "NINEFOLD_HTTPS_PORT": f"127.0.0.1:{port}",
        "NINEFOLD_HTTP_PORT": f"127.0.0.1:{free_port()}",
        "NINEFOLD_CLOUD_PORT": str(free_port()),
        "NINEFOLD_LOCALCLOUD_IMAGE": images["localcloud"],
        "NINEFOLD_MODEL": "efficientnet_lite0",
        "NINEFOLD_BUCKET": "ninefold",
        "NINEFOLD_SECRETS_DIR": str(folder / "secrets"),
        "NINEFOLD_BACKEND_ENV": str(folder / "backend.env"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (folder / "backend.env").write_text(SETTINGS)
    site = Site(folder, port, *_secrets(folder / "secrets"))
    named = {f"NINEFOLD_{name.upper()}_IMAGE": tag for name, tag in images.items()}
    try:
        docker("compose", "--env-file", ".env", "up", "--detach", "--wait", "aws", cwd=folder, env=named)
        done = site.roll(bake=0, **{name: images[name] for name in ("backend", "frontend", "proxy")})
        assert done.returncode == 0, done.stdout + done.stderr
        yield site
    finally:
        docker("compose", "--env-file", ".env", "down", "--volumes", "--timeout", "5", cwd=folder, env=named)


def _secrets(folder: Path) -> tuple[str, str]:
    """The folders that containers are given, as people fill them; returns a key, and the page's."""
    for name in ("backend", "frontend", "proxy"):
        (folder / name).mkdir(parents=True)
    keys = folder / "backend" / "keys.json"
    mine, pages = (_said("keys", "add", "--file", str(keys), "--name", name) for name in ("tests", "page"))
    hashed = _said("keys", "password", stdin=f"{PASSWORD}\n")
    text = f"NINEFOLD_API_KEY={pages}\nNINEFOLD_PAGE_PASSWORD_HASH={hashed}\n"
    (folder / "frontend" / "page.env").write_text(text)
    os.chown(keys, 10001, 10001)
    return mine, pages


def _said(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run([str(NINEFOLD), *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
