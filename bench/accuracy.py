"""How many of the labelled photographs a running server names rightly, over HTTP.

    python -m bench.accuracy                  starts a server of its own
    python -m bench.accuracy --server URL     asks that one

The torch reference (torchvision's transform, float32) is asked the same in the same run.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torchvision.transforms import CenterCrop, Compose, Resize

from bench.photographs import Photograph, samples
from inference.catalogue import BY_NAME
from inference.torch_classifier import TorchClassifier
from modelzoo.networks import build_network
from modelzoo.weights import obtain

IMAGES_A_REQUEST = 9
Top = list[list[int]]


def served(url: str, photographs: list[Photograph]) -> tuple[str, Top]:
    """The model that answered, and each photograph's five indices."""
    answers: Top = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for start in range(0, len(photographs), IMAGES_A_REQUEST):
            group = photographs[start : start + IMAGES_A_REQUEST]
            body = (
                client.post("/v1/predict", files=[("images", (p.name, p.data)) for p in group])
                .raise_for_status()
                .json()
            )
            answers += [[line["index"] for line in row.get("predictions", [])] for row in body["results"]]
    return body["model"], answers


def referred(model_name: str, photographs: list[Photograph]) -> Top:
    """The same from torch, with torchvision's own transform on the fully decoded picture."""
    model = BY_NAME[model_name]
    spec = model.transform
    transform = Compose([Resize(spec.resize, antialias=True), CenterCrop(spec.crop)])
    classifier = TorchClassifier(build_network(model, obtain(model, None, Path("models/.downloads"))), spec)
    answers: Top = []
    for photograph in photographs:
        with Image.open(io.BytesIO(photograph.data)) as opened:
            pixels = np.array(transform(ImageOps.exif_transpose(opened).convert("RGB")))
        answers.append(np.argsort(-classifier(pixels[None])[0])[:5].tolist())
    return answers


def right(answers: Top, photographs: list[Photograph]) -> tuple[int, int]:
    """How many are right at top-1 and at top-5."""
    pairs = list(zip(answers, photographs, strict=True))
    return sum(a[:1] == [p.index] for a, p in pairs), sum(p.index in a for a, p in pairs)


@contextmanager
def own_server() -> Iterator[tuple[str, int]]:
    """The address and process id of a server on a free loopback port, for as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {"NINEFOLD_PORT": str(port)}
    server = subprocess.Popen([sys.executable, "-m", "backend"], env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_ready(url, server)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait(30)


def _wait_ready(url: str, server: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"bench: the server did not become ready within {seconds:.0f} s")


def main() -> None:
    """Prints one table: ours over HTTP, and the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="a running server's address")
    options = parser.parse_args()
    photographs = list(samples())
    if options.server:
        model, ours = served(options.server, photographs)
    else:
        with own_server() as (url, _):
            model, ours = served(url, photographs)
    theirs = referred(model, photographs)
    table = Table("", "top-1", "top-5", title=f"{model} on {len(photographs)} photographs")
    for name, answers in (("server, over HTTP", ours), ("torch reference", theirs)):
        first, five = right(answers, photographs)
        table.add_row(name, f"{first} ({first / len(photographs):.1%})", f"{five} ({five / len(photographs):.1%})")
    same = sum(a[:1] == b[:1] for a, b in zip(ours, theirs, strict=True))
    table.add_row("same top-1", f"{same}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
