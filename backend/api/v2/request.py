"""What a request for inference asks: its JSON, and the tensors in binary behind it.

Two inputs, of which a request has one: `pixels` (UINT8 [N,H,W,3]) and `images` (BYTES [N], a file each).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.api.errors import ApiError
from backend.api.json_images import Encoded
from contract.transform import ImageLimits, Pixels

PIXELS, IMAGES, LOGITS = "pixels", "images", "logits"
_MOST_PARTS = 10_000
_Word = Annotated[str, Field(max_length=128)]


class _Parameters(BaseModel):
    """Of a tensor; those that mean nothing here are passed over, as the protocol has it."""

    model_config = ConfigDict(strict=True)
    binary_data_size: int | None = Field(None, ge=0)
    binary_data: bool | None = None
    classification: int | None = Field(None, ge=1, le=1000)
    shared_memory_region: str | None = None


class _Input(BaseModel):
    name: _Word
    datatype: _Word
    shape: list[int] = Field(min_length=1, max_length=8)
    parameters: _Parameters = _Parameters()
    data: Any = None


class _Output(BaseModel):
    name: _Word
    parameters: _Parameters = _Parameters()


class _AllParameters(BaseModel):
    model_config = ConfigDict(strict=True)
    binary_data_output: bool = False


class _Request(BaseModel):
    id: str | None = Field(None, max_length=256)
    parameters: _AllParameters = _AllParameters()
    inputs: list[_Input] = Field(min_length=1, max_length=1)
    outputs: list[_Output] = Field([], max_length=1)


@dataclass(frozen=True)
class Wanted:
    """The logits, or of each image the `classes` most probable classes; as JSON or in binary."""

    binary: bool
    classes: int | None = None


@dataclass(frozen=True)
class Asked:
    """A request: either `pixels`, uint8[N,H,W,3], or what reads each picture's bytes."""

    id: str | None
    wanted: Wanted
    pixels: Pixels | None = None
    reads: tuple[Callable[[], bytes], ...] = ()

    @property
    def images(self) -> int:
        """How many."""
        return len(self.reads) if self.pixels is None else len(self.pixels)


@dataclass(frozen=True)
class Bounds:
    """What a request may be: `side` of the square that the network sees, `images` in all, `in_text` as JSON numbers."""

    side: int
    images: int
    in_text: int
    image: ImageLimits

    @property
    def parts(self) -> int:
        """Of JSON: numbers, and the lists they may be nested in."""
        return _MOST_PARTS + self.in_text * self.side * (self.side * 4 + 1)


def malformed(detail: str) -> ApiError:
    """The request is not as the protocol has it, or as this server takes it."""
    return ApiError(400, "malformed_request", f"{detail[:300].rstrip('.')}.")


def asked(value: Any, binary: memoryview, bounds: Bounds) -> Asked:
    """The request of the JSON's `value` and the bytes that follow it. Raises ApiError 400."""
    try:
        request = _Request.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the request"
        raise malformed(f"{where}: {first['msg']}") from error
    (tensor,) = request.inputs
    raw = _raw(tensor, binary)
    wanted = _wanted(request)
    if (tensor.name, tensor.datatype) == (PIXELS, "UINT8"):
        return Asked(request.id, wanted, pixels=_pixels(tensor, raw, bounds))
    if (tensor.name, tensor.datatype) == (IMAGES, "BYTES"):
        return Asked(request.id, wanted, reads=_reads(tensor, raw, bounds))
    raise malformed(f"The input must be {PIXELS!r} of UINT8 or {IMAGES!r} of BYTES, not {tensor.name!r:.60}")


def _wanted(request: _Request) -> Wanted:
    output = request.outputs[0] if request.outputs else _Output(name=LOGITS)
    if output.name != LOGITS:
        raise malformed(f"There is no output {output.name!r:.60}, only {LOGITS!r}")
    given, otherwise = output.parameters, request.parameters.binary_data_output
    if given.shared_memory_region is not None:
        raise malformed("There is no shared memory with this server")
    return Wanted(otherwise if given.binary_data is None else given.binary_data, given.classification)


def _raw(tensor: _Input, binary: memoryview) -> memoryview | None:
    """The tensor's bytes, unless it is in the JSON."""
    size = tensor.parameters.binary_data_size
    if tensor.parameters.shared_memory_region is not None:
        raise malformed("There is no shared memory with this server")
    if (size or 0) != len(binary):
        raise malformed(f"{len(binary)} bytes follow the JSON, and binary_data_size says {size or 0}")
    if (size is None) == (tensor.data is None):
        raise malformed("An input has either data or binary_data_size, and the header Inference-Header-Content-Length")
    return None if size is None else binary


def _count(tensor: _Input, rest: list[int], most: int, what: str = "") -> int:
    """How many images, by the shape."""
    images, *others = tensor.shape
    if others != rest:
        raise malformed(f"The shape of {tensor.name!r} must be {['N', *rest]}, not {tensor.shape}".replace("'N'", "N"))
    if not 1 <= images <= most:
        raise malformed(f"A request may carry 1 to {most} images{what}, not {images}")
    return images


def _pixels(tensor: _Input, raw: memoryview | None, bounds: Bounds) -> Pixels:
    rest = [bounds.side, bounds.side, 3]
    count = _count(tensor, rest, bounds.images)
    if raw is None:
        _count(tensor, rest, bounds.in_text, " as JSON numbers; send more of them in binary")
        raw = memoryview(_numbers(tensor.data))
    if len(raw) != count * bounds.side * bounds.side * 3:
        raise malformed(f"The shape {tensor.shape} needs {count * bounds.side**2 * 3} values, and {len(raw)} are there")
    return np.frombuffer(raw, np.uint8).reshape(count, *rest)


def _numbers(data: Any) -> bytes:
    """Numbers from 0 to 255 in a list, or in lists of lists, as bytes."""
    try:
        for _ in range(3):
            if data and isinstance(data[0], list) and all(isinstance(row, list) for row in data):
                data = list(chain.from_iterable(data))
        return bytes(data) if isinstance(data, list) else bytes([data])
    except (TypeError, ValueError, LookupError) as error:
        raise malformed("The data of UINT8 must be whole numbers from 0 to 255") from error


def _reads(tensor: _Input, raw: memoryview | None, bounds: Bounds) -> tuple[Callable[[], bytes], ...]:
    count = _count(tensor, [], bounds.images)
    reads = _in_json(tensor.data, count, bounds.image) if raw is None else _in_binary(raw, count)
    if len(reads) != count:
        raise malformed(f"The shape {tensor.shape} needs {count} elements, and {len(reads)} are there")
    return reads


def _in_json(data: Any, most: int, limits: ImageLimits) -> tuple[Callable[[], bytes], ...]:
    """What reads each element; of too many, one over `most`."""
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data[: most + 1]):
        raise malformed("The data of BYTES must be a list of strings, each a file in base64")
    return tuple(Encoded("", text, limits).read for text in data[: most + 1])


def _in_binary(raw: memoryview, most: int) -> tuple[Callable[[], bytes], ...]:
    """The same. Each element is its length in four bytes, the lowest first, and then so many bytes."""
    found: list[Callable[[], bytes]] = []
    at = 0
    while at < len(raw) and len(found) <= most:
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        if at > len(raw):
            raise malformed(f"Element {len(found)} of the BYTES breaks off")
        found.append(partial(bytes, raw[start:at]))
    return tuple(found)
