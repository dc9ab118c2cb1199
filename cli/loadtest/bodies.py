"""Requests from pictures, made before anything is measured: multipart, or by the Open Inference Protocol."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from uuid import uuid4

from PIL import Image, UnidentifiedImageError

from cli.loadtest.plan import Body
from cli.server import CannotAnswer, sendable

MOST_MULTIPART = 9
_MOST_BYTES = 1 << 29
"""Of all requests together; every worker holds them."""


@dataclass(frozen=True)
class Picture:
    """A file's name and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Tensor:
    """A model's input that takes encoded pictures, its dimensions, and which output is asked for, in which manner."""

    name: str
    rank: int = 1
    output: str = ""
    classification: bool = False


def pictures(paths: Sequence[Path]) -> list[Picture]:
    """The files. Raises CannotAnswer for one that cannot be read, or whose header is no picture's."""
    return [_picture(path) for path in paths]


def _picture(path: Path) -> Picture:
    try:
        data = path.read_bytes()
        with Image.open(path):
            return Picture(sendable(path.name), data)
    except IsADirectoryError as error:
        raise CannotAnswer(f"{path} is a folder; name its pictures: {path}/*.jpg") from error
    except UnidentifiedImageError as error:
        raise CannotAnswer(f"{path} is no picture; give a JPEG, PNG, WebP, GIF, BMP or AVIF") from error
    except Image.DecompressionBombError as error:
        raise CannotAnswer(f"{path} has more pixels than a server takes; give a smaller one") from error
    except OSError as error:
        raise CannotAnswer(f"{path} cannot be read ({error.strerror or error}); check its name and rights") from error


def bodies(given: Sequence[Picture], images: int, tensor: Tensor | None = None) -> list[Body]:
    """All different requests of `images` pictures, taken in turn; for an Open Inference server's `tensor`, if given.

    Raises CannotAnswer for more than fits the memory.
    """
    groups = [[given[(start + n) % len(given)] for n in range(images)] for start in _starts(len(given), images)]
    size = sum(len(picture.data) for group in groups for picture in group)
    if size > _MOST_BYTES:
        raise CannotAnswer(
            f"these pictures make {size / 1e6:.0f} MB of requests, and every worker would hold them all; "
            f"give fewer pictures, so that it is no more than {_MOST_BYTES / 1e6:.0f} MB"
        )
    return [multipart(group) if tensor is None else inference(group, tensor) for group in groups]


def _starts(pictures: int, images: int) -> range:
    """Where each request's pictures begin, until it would begin where the first did."""
    return range(0, images * (pictures // gcd(pictures, images)), images)


def multipart(group: Sequence[Picture]) -> Body:
    """The body of POST /v1/predict."""
    boundary = f"ninefold-{uuid4().hex}"
    parts = []
    for picture in group:
        name = "".join("%22" if c == '"' else c if c.isprintable() else "_" for c in picture.name)
        disposition = f'Content-Disposition: form-data; name="images"; filename="{name}"'
        parts += [f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()]
        parts += [picture.data, b"\r\n"]
    data = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return Body((f"Content-Type: multipart/form-data; boundary={boundary}",), data)


def inference(group: Sequence[Picture], tensor: Tensor) -> Body:
    """The body of an Open Inference request by its binary extension: a JSON header, then the input's elements.

    An element of type BYTES is its length, four bytes, the least significant first, and then itself.
    """
    elements = b"".join(struct.pack("<I", len(picture.data)) + picture.data for picture in group)
    shape = [len(group)] + [1] * (tensor.rank - 1)
    sizes = {"binary_data_size": len(elements)}
    stated = {"name": tensor.name, "shape": shape, "datatype": "BYTES", "parameters": sizes}
    wanted = {"name": tensor.output, "parameters": {"classification": 5} if tensor.classification else {}}
    outputs = {"outputs": [wanted]} if tensor.output else {}
    header = json.dumps({"inputs": [stated], **outputs}).encode()
    return Body(
        ("Content-Type: application/octet-stream", f"Inference-Header-Content-Length: {len(header)}"),
        header + elements,
    )
