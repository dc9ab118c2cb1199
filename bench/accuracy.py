"""How many of the labelled photographs a running server names rightly, over HTTP.

    python -m bench.accuracy                     starts a server of its own
    python -m bench.accuracy --precision int8    asks it for that precision (without: for its default)
    python -m bench.accuracy --server URL        asks that one

The torch reference (torchvision's transform, float32) is asked the same in the same run. In brackets: Wilson's interval
at 95 %, since photographs of this number could not tell more.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import httpx
import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torchvision.transforms import CenterCrop, Compose, Resize

from bench.photographs import Photograph, samples
from bench.servers import own_server
from inference.catalogue import BY_NAME
from inference.shares import share_of
from inference.torch_classifier import TorchClassifier
from modelzoo.networks import build_network
from modelzoo.weights import obtain

IMAGES_A_REQUEST = 9
Top = list[list[int]]


def served(url: str, photographs: list[Photograph], precision: str | None) -> tuple[str, str, Top]:
    """The model and the precision that answered, and each photograph's five indices."""
    answers: Top = []
    wanted = {"precision": precision} if precision else {}
    with httpx.Client(base_url=url, timeout=60) as client:
        for start in range(0, len(photographs), IMAGES_A_REQUEST):
            group = photographs[start : start + IMAGES_A_REQUEST]
            body = (
                client.post("/v1/predict", files=[("images", (p.name, p.data)) for p in group], params=wanted)
                .raise_for_status()
                .json()
            )
            answers += [[line["index"] for line in row.get("predictions", [])] for row in body["results"]]
    return body["model"], body["precision"], answers


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


def share(hits: int, of: int) -> str:
    """The count, its share, and Wilson's interval of that at 95 %."""
    found = share_of(hits, of)
    return f"{hits} ({found.share:.1%}; {found.low:.1%} to {found.high:.1%})"


def main() -> None:
    """Prints one table: ours over HTTP, and the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="a running server's address")
    parser.add_argument("--precision", help="what is asked for (without: the server's default)")
    options = parser.parse_args()
    photographs = list(samples())
    if options.server:
        model, precision, ours = served(options.server, photographs, options.precision)
    else:
        with own_server() as (url, _):
            model, precision, ours = served(url, photographs, options.precision)
    theirs = referred(model, photographs)
    count = len(photographs)
    table = Table("", "top-1", "top-5", title=f"{model} {precision} on {count} photographs")
    for name, answers in (("server, over HTTP", ours), ("torch reference, fp32", theirs)):
        first, five = right(answers, photographs)
        table.add_row(name, share(first, count), share(five, count))
    first = sum(a[:1] == b[:1] for a, b in zip(ours, theirs, strict=True))
    five = sum(set(a) == set(b) for a, b in zip(ours, theirs, strict=True))
    table.add_row("the same from both", share(first, count), share(five, count))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
