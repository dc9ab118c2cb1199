"""Decoding as a CUDA device does it, with torchvision's decoder on a CPU in place of the device's."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from contract.transform import BadImage, ImageLimits, TransformSpec, to_pixels
from inference import decode_cuda, engines
from inference.decode_cuda import DeviceDecoder
from inference.torch_runners import NoDevice
from tests import pictures

SPECS = [TransformSpec(), TransformSpec(333, 299, "bicubic"), TransformSpec(320, 320, whole=True)]
KOALA = pictures.sample("koala.jpg")


def jpeg(width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
    return pictures.encode(pictures.photo((width, height)).convert(mode), quality=92, **options)


def turned(data: bytes, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pictures.encode(Image.open(io.BytesIO(data)), exif=exif)


@pytest.fixture(scope="module")
def decode() -> DeviceDecoder:
    return DeviceDecoder(torch.device("cpu"))


@pytest.fixture
def on_device(decode: DeviceDecoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were decoded as the device does it."""
    seen: list[int] = []
    pixels = decode._pixels
    monkeypatch.setattr(decode, "_pixels", lambda data, spec: (seen.append(len(data)), pixels(data, spec))[1])
    return seen


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.pixels_id)
@pytest.mark.parametrize(
    "data",
    [KOALA, jpeg(640, 480), jpeg(481, 641), jpeg(301, 977, "L"), jpeg(100, 90), jpeg(640, 360, progressive=True)],
    ids=["koala", "camera", "upright", "grey", "small", "progressive"],
)
def test_pixels_are_those_of_the_processor_but_for_rounding(
    decode: DeviceDecoder, on_device: list[int], data: bytes, spec: TransformSpec
) -> None:
    ours, theirs = decode(data, spec), to_pixels(data, spec)
    assert on_device == [len(data)]
    assert ours.shape == theirs.shape and ours.dtype == np.uint8 and ours.flags.owndata
    apart = np.abs(ours.astype(int) - theirs)
    assert apart.max() <= 2 and apart.mean() < 0.1 and ours.std() > 10


def test_a_picture_that_no_camera_sends_gets_the_processors_pixels(decode: DeviceDecoder, on_device: list[int]) -> None:
    for data in (
        turned(KOALA, 6),
        jpeg(64, 48, "CMYK"),
        jpeg(3841, 2161),
        jpeg(100, 401),
        jpeg(401, 100),
        pictures.encode(pictures.photo(), "PNG"),
    ):
        assert (decode(data, TransformSpec()) == to_pixels(data, TransformSpec())).all()
    assert not on_device


@pytest.mark.parametrize("data", [KOALA[:-200], KOALA[:300], b"no picture", b""])
def test_a_bad_picture_gets_the_processors_words(decode: DeviceDecoder, data: bytes) -> None:
    with pytest.raises(BadImage) as theirs:
        to_pixels(data, TransformSpec())
    with pytest.raises(BadImage) as ours:
        decode(data, TransformSpec())
    assert (ours.value.code, ours.value.message) == (theirs.value.code, theirs.value.message)


def test_limits_are_kept_and_memory_is_asked_for_before_it_is_taken(
    decode: DeviceDecoder, on_device: list[int]
) -> None:
    held: list[int] = []

    @contextmanager
    def admit(pixels: int) -> Iterator[None]:
        assert not on_device
        held.append(pixels)
        yield

    decode(jpeg(640, 480), TransformSpec(), ImageLimits(), admit)
    assert held == [640 * 480] and len(on_device) == 1
    with pytest.raises(BadImage, match="megapixels"):
        decode(jpeg(640, 480), TransformSpec(), ImageLimits(max_pixels=100_000))


def test_threads_share_it_and_get_their_own_pixels(decode: DeviceDecoder) -> None:
    files, answers = [jpeg(200 + 10 * number, 150) for number in range(6)], {}

    def ask(number: int) -> None:
        answers[number] = decode(files[number], SPECS[number % 3])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((answers[number] == decode(files[number], SPECS[number % 3])).all() for number in range(6))


def test_only_cuda_decodes_so_and_what_it_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.load_decoder() is engines.load_decoder(device="GPU") is to_pixels
    if not torch.cuda.is_available():
        with pytest.raises(NoDevice):
            engines.load_decoder(device="CUDA")
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "torchvision" else find_spec(name))
    with pytest.raises(engines.NoDecoder, match="needs torchvision"):
        engines.load_decoder(device="CUDA")


def test_a_device_that_refuses_a_picture_leaves_it_to_the_processor(
    decode: DeviceDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(decode_cuda, "decode_jpeg", refuse)
    assert (decode(KOALA, TransformSpec()) == to_pixels(KOALA, TransformSpec())).all()


def test_exif_data_that_pillow_cannot_read_is_no_reason_to_refuse(
    decode: DeviceDecoder, on_device: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_: Image.Image) -> None:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", unreadable)
    assert (decode(KOALA, TransformSpec()) == to_pixels(KOALA, TransformSpec())).all() and not on_device
