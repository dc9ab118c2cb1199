"""A camera's frame: decoded once, and cut into what several networks see, with the pixels of a lossless file."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from contract.transform import (
    BadImage,
    ImageLimits,
    Pixels,
    TransformSpec,
    crop_pixels,
    decode_rgb,
    rgb_to_pixels,
    to_pixels,
)
from tests import pictures

SPEC = TransformSpec()
BICUBIC = TransformSpec(333, 299, "bicubic")
WHOLE = TransformSpec(160, 160, whole=True)


def png(rgb: Pixels) -> bytes:
    return pictures.encode(Image.fromarray(rgb), "PNG")


def frame(size: tuple[int, int] = (640, 480), seed: int = 0) -> Pixels:
    return np.asarray(pictures.photo(size, seed))


@pytest.mark.parametrize("spec", [SPEC, BICUBIC, WHOLE], ids=["bilinear", "bicubic", "whole"])
@pytest.mark.parametrize("size", [(640, 480), (300, 423), (90, 60), (1, 1)])
def test_a_decoded_frame_gives_the_pixels_of_the_file(size: tuple[int, int], spec: TransformSpec) -> None:
    data = pictures.encode(pictures.photo(size), "PNG")
    assert np.array_equal(rgb_to_pixels(decode_rgb(data), spec), to_pixels(data, spec))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_frame_is_decoded_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pictures.encode(pictures.photo((401, 307)), "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(pictures.photo((401, 307))) if orientation == 1 else _upright(data))
    rgb = decode_rgb(data)
    assert np.array_equal(rgb, upright)
    for spec in (SPEC, WHOLE):
        off = np.abs(rgb_to_pixels(rgb, spec).astype(int) - to_pixels(data, spec))
        assert off.max() <= 1


def _upright(data: bytes) -> Pixels:
    import io

    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_mode_becomes_rgb_as_in_to_pixels_but_for_rounding(mode: str) -> None:
    image = pictures.photo((300, 260)).convert(mode)
    data = pictures.encode(image, "JPEG" if mode == "CMYK" else "PNG")
    rgb = decode_rgb(data)
    assert rgb.shape == (260, 300, 3) and rgb.dtype == np.uint8
    assert np.abs(rgb_to_pixels(rgb, SPEC).astype(int) - to_pixels(data, SPEC)).max() <= 1


@pytest.mark.parametrize("spec", [SPEC, BICUBIC], ids=["bilinear", "bicubic"])
def test_a_crop_has_the_pixels_of_its_cut_out_in_a_lossless_file(spec: TransformSpec) -> None:
    rgb = frame()
    boxes = np.array([[0.25, 0.25, 0.5, 0.75], [0.0, 0.5, 0.125, 1.0], [0.5, 0.0, 1.0, 1.0]])
    crops = crop_pixels(rgb, boxes, 0.1, spec)
    cut_outs = [rgb[96:384, 144:336], rgb[216:480, 0:88], rgb[0:480, 288:640]]
    assert crops.shape == (3, spec.crop, spec.crop, 3) and crops.dtype == np.uint8
    for crop, cut_out in zip(crops, cut_outs, strict=True):
        assert np.array_equal(crop, to_pixels(png(cut_out), spec))


def test_without_a_margin_the_box_grows_to_whole_pixels_alone() -> None:
    rgb = frame((100, 100))
    crop = crop_pixels(rgb, np.array([[0.101, 0.2, 0.399, 0.301]]), 0, SPEC)[0]
    assert np.array_equal(crop, to_pixels(png(rgb[20:31, 10:40]), SPEC))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e9, 1e9), min_size=4, max_size=4),
    st.floats(0, 3),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_any_box_is_cut_out_of_the_frame(box: list[float], margin: float, size: tuple[int, int]) -> None:
    """Boxes beyond the frame, without width, the wrong way round: a crop of at least one pixel, never an error."""
    assert crop_pixels(frame(size), np.array([box], np.float32), margin, SPEC).shape == (1, 224, 224, 3)


def test_no_boxes_are_no_crops() -> None:
    assert crop_pixels(frame(), np.zeros((0, 4)), 0.1, SPEC).shape == (0, 224, 224, 3)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_boxes_that_are_no_numbers_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        crop_pixels(frame(), np.array([[0, 0, wrong, 1]]), 0.1, SPEC)


def test_a_whole_picture_is_pillows_resize_and_nothing_is_cut_off() -> None:
    image = pictures.photo((640, 480))
    expected = np.asarray(image.resize((160, 160), Image.Resampling.BILINEAR))
    assert np.array_equal(to_pixels(pictures.encode(image, "PNG"), WHOLE), expected)


@pytest.mark.parametrize("data", [b"", b"text", pictures.jpeg()[:900]])
def test_what_is_no_picture_is_refused_as_by_to_pixels(data: bytes) -> None:
    with pytest.raises(BadImage) as ours:
        decode_rgb(data)
    with pytest.raises(BadImage) as theirs:
        to_pixels(data, SPEC)
    assert (ours.value.code, ours.value.message) == (theirs.value.code, theirs.value.message)


def test_a_frame_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(BadImage) as caught:
        decode_rgb(pictures.jpeg((400, 300)), ImageLimits(max_pixels=100_000))
    assert caught.value.code == "too_many_pixels"


def test_decoding_is_admitted_with_what_it_holds() -> None:
    told: list[int] = []

    @contextlib.contextmanager
    def admit(pixels: int):
        told.append(pixels)
        yield

    decode_rgb(pictures.jpeg((400, 300)), admit=admit)
    to_pixels(pictures.jpeg((400, 300)), SPEC, admit=admit)
    assert told == [4 * 400 * 300, 400 * 300]


def test_a_spec_of_the_whole_picture_survives_json_and_others_are_written_as_before() -> None:
    assert TransformSpec.from_dict(WHOLE.to_dict()) == WHOLE and WHOLE.to_dict()["whole"] is True
    assert "whole" not in SPEC.to_dict() and SPEC.pixels_id == "bilinear-256-224"
    assert WHOLE.pixels_id == "bilinear-whole-160" != TransformSpec(160, 160).pixels_id
    with pytest.raises(ValueError, match="resize must be crop"):
        TransformSpec(256, 224, whole=True)
    with pytest.raises(TypeError, match="whole"):
        TransformSpec.from_dict(WHOLE.to_dict() | {"whole": "yes"})
