import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, Resize

from contract.transform import BadImage, ImageLimits, Pixels, TransformSpec, read_header, to_pixels
from tests import pictures
from tests.golden import make as golden

ROOT = Path(__file__).parent.parent.parent
SPEC = TransformSpec()
REFERENCE = Compose([Resize(256, antialias=True), CenterCrop(224)])


def reference(data: bytes) -> Pixels:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(REFERENCE(image.convert("RGB")))


def difference(ours: Pixels, theirs: Pixels) -> np.ndarray:
    return np.abs(ours.astype(int) - theirs.astype(int))


def large_jpeg(**options: bool) -> bytes:
    return pictures.encode(pictures.photo((1050, 1025)).resize((4200, 4100)), "JPEG", quality=92, **options)


def refusal(data: bytes, **limits: int) -> BadImage:
    with pytest.raises(BadImage) as caught:
        to_pixels(data, SPEC, ImageLimits(**limits))
    return caught.value


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (256, 256), (640, 427), (225, 226), (90, 60)])
def test_pixels_are_torchvisions(size: tuple[int, int]) -> None:
    data = pictures.encode(pictures.photo(size), "PNG")
    off = difference(to_pixels(data, SPEC), reference(data))
    assert off.max() <= 1 and off.mean() < 0.01


def test_pixels_of_a_long_strip_are_off_by_rounding_at_most() -> None:
    data = pictures.encode(pictures.photo((257, 999)), "PNG")  # here Pillow takes the two directions in the other order
    assert difference(to_pixels(data, SPEC), reference(data)).max() <= 1


def test_pixels_are_contiguous_writable_and_of_the_specs_size() -> None:
    pixels = to_pixels(pictures.jpeg(), TransformSpec(resize=320, crop=299))
    assert pixels.shape == (299, 299, 3) and pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous and pixels.flags.writeable


def test_bicubic_is_torchvisions_bicubic() -> None:
    data = pictures.encode(pictures.photo((500, 333)), "PNG")
    theirs = Compose([Resize(256, interpolation=Image.Resampling.BICUBIC), CenterCrop(224)])
    expected = np.asarray(theirs(Image.open(io.BytesIO(data))))
    assert difference(to_pixels(data, TransformSpec(interpolation="bicubic")), expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(401, 307), (300, 423)])
def test_exif_orientation_is_honoured(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pictures.encode(pictures.photo(size), "PNG", exif=exif)
    off = difference(to_pixels(data, SPEC), reference(data))
    assert off.max() <= 1 and off.mean() < 0.01


@pytest.mark.parametrize("format", ["WEBP", "JPEG", "AVIF"])
def test_exif_orientation_is_honoured_once_in_every_format(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = pictures.encode(pictures.photo((401, 307)), format, exif=exif)
    assert difference(to_pixels(data, SPEC), reference(data)).max() <= 2


def test_damaged_exif_does_no_harm() -> None:
    good = pictures.jpeg()
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 40
    data = good[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + good[2:]
    assert np.array_equal(to_pixels(data, SPEC), to_pixels(good, SPEC))


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_colour_modes_are_those_of_pillows_rgb(mode: str) -> None:
    data = pictures.encode(pictures.photo().convert(mode), "PNG")
    assert difference(to_pixels(data, SPEC), reference(data)).max() <= 1


def test_cmyk_jpeg() -> None:
    data = pictures.encode(pictures.photo().convert("CMYK"), "JPEG", quality=95)
    assert difference(to_pixels(data, SPEC), reference(data)).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_white(mode: str) -> None:
    image = pictures.photo().convert(mode)
    image.putalpha(0)
    assert (to_pixels(pictures.encode(image, "PNG"), SPEC) == 255).all()
    image.putalpha(255)
    opaque = to_pixels(pictures.encode(image, "PNG"), SPEC)
    assert difference(opaque, reference(pictures.encode(image.convert("RGB"), "PNG"))).max() <= 1


def test_half_transparent_black_is_grey() -> None:
    data = pictures.encode(Image.new("RGBA", (300, 300), (0, 0, 0, 128)), "PNG")
    assert difference(to_pixels(data, SPEC), np.full((224, 224, 3), 127)).max() <= 1


def test_transparent_palette_colour_is_white() -> None:
    image = Image.new("P", (300, 300), 1)
    image.putpalette([0, 0, 0, 90, 90, 90])
    data = pictures.encode(image, "PNG", transparency=1)
    assert (to_pixels(data, SPEC) == 255).all()


def test_transparent_rgb_colour_is_white() -> None:
    data = pictures.encode(Image.new("RGB", (300, 300), (9, 9, 9)), "PNG", transparency=(9, 9, 9))
    assert (to_pixels(data, SPEC) == 255).all()


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (256, 1))
    pixels = to_pixels(pictures.encode(Image.fromarray(ramp), "PNG"), SPEC)
    assert difference(pixels[0, :, 0], np.arange(16, 240)).max() <= 1
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_an_animation_gives_its_first_frame() -> None:
    assert (to_pixels(pictures.animated_gif(), SPEC)[100, 100] == (255, 0, 0)).all()


@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000), (2, 3)])
def test_extreme_shapes_have_an_answer(size: tuple[int, int]) -> None:
    data = pictures.encode(Image.new("RGB", size, (10, 200, 30)), "PNG")
    assert (to_pixels(data, SPEC) == (10, 200, 30)).all()


def test_a_reduced_jpeg_is_close_to_the_full_one() -> None:
    data = large_jpeg()
    assert read_header(data, SPEC).decoded_pixels == 2100 * 2050
    off = difference(to_pixels(data, SPEC), reference(data))
    assert 0 < off.mean() < 0.2 and off.max() <= 3


def test_a_jpeg_of_twelve_megapixels_is_not_reduced() -> None:
    data = pictures.encode(pictures.photo().resize((4000, 3000)), "JPEG")
    assert read_header(data, SPEC).decoded_pixels == 4000 * 3000


def test_a_progressive_jpeg_counts_in_full() -> None:
    header = read_header(large_jpeg(progressive=True), SPEC)
    assert (header.format, header.decoded_pixels) == ("JPEG", 2 * 4200 * 4100)


# -- bad images -----------------------------------------------------------------------------------------------------


def test_an_empty_file() -> None:
    assert refusal(b"").code == "empty"


def test_too_many_bytes() -> None:
    bad = refusal(pictures.jpeg(), max_bytes=1000)
    assert bad.code == "too_many_bytes" and "MB" in bad.message


def test_too_many_pixels_is_known_from_the_header() -> None:
    bad = refusal(pictures.png_of_size(8000, 8000))  # its pixels are not there: decoding would say "truncated"
    assert bad.code == "too_many_pixels" and "8000×8000" in bad.message


def test_a_side_may_have_a_limit_of_its_own() -> None:
    for size in ((1, 101), (101, 1)):
        strip = pictures.encode(Image.new("RGB", size), "PNG")
        bad = refusal(strip, max_side=100)
        assert bad.code == "too_many_pixels" and "100 pixels a side is the most" in bad.message
        assert to_pixels(strip, SPEC, ImageLimits(max_side=101)).shape == to_pixels(strip, SPEC).shape


def test_pillows_own_bomb_error_is_ours_too() -> None:
    assert refusal(pictures.png_of_size(60_000, 60_000)).code == "too_many_pixels"


@pytest.mark.parametrize("part", [0.2, 0.6, 0.98])
def test_a_truncated_jpeg(part: float) -> None:
    data = pictures.jpeg()
    assert refusal(data[: int(len(data) * part)]).code == "truncated"


def test_text_under_the_name_of_a_picture() -> None:
    assert refusal(b"I am not a picture.\n" * 10).code == "unsupported_format"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "zip"),
        (b"\xff\xd8\xff\xe0", "breaks off"),
    ],
)
def test_the_message_says_what_it_is_instead(data: bytes, word: str) -> None:
    assert word in refusal(data + b"\0" * 100).message


def test_text_that_inflates_without_end() -> None:
    assert refusal(pictures.text_bomb()).code == "corrupt"


def test_sixteen_bit_grey_has_a_transparent_value_too() -> None:
    grey = pictures.encode(Image.fromarray(np.full((300, 300), 1000, np.uint16)), "PNG")
    data = grey[:33] + pictures.png_chunk(b"tRNS", (1000).to_bytes(2, "big")) + grey[33:]
    assert (to_pixels(data, SPEC) == 255).all()


def test_a_png_of_countless_chunks() -> None:
    bad = refusal(pictures.png_with(b"tEXt", b"a\0b", times=20_001))
    assert bad.code == "too_complex" and "pieces" in bad.message
    assert to_pixels(pictures.png_with(b"tEXt", b"a\0b", times=1000), SPEC).shape == (224, 224, 3)


def test_a_jpeg_of_countless_scans() -> None:
    assert refusal(pictures.jpeg_of_scans(100)).code == "too_complex"
    assert to_pixels(pictures.jpeg(progressive=True), SPEC).shape == (224, 224, 3)


def test_what_lies_behind_a_jpegs_end_is_nobodys_business() -> None:
    data = pictures.motion_photo()
    assert data.count(b"\xff\xda") > 100
    assert np.array_equal(to_pixels(data, SPEC), to_pixels(pictures.jpeg(), SPEC))


def test_a_tiff_is_named_and_told_what_to_do() -> None:
    assert "Save it as a PNG" in refusal(pictures.encode(pictures.photo(), "TIFF")).message


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process its peak memory")
@pytest.mark.parametrize(
    ("format", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("AVIF", "RGBA"), ("GIF", "P")],
)
def test_memory_stays_within_what_the_header_announces(format: str, mode: str) -> None:
    """A process of its own decodes 16 megapixels: four bytes for each announced pixel, and some change."""
    code = (
        "import sys\n"
        "from contract.transform import TransformSpec, read_header, to_pixels\n"
        "data = sys.stdin.buffer.read()\n"
        "def peak():\n"
        "    return int(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1]) * 1024\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "before = peak()\n"
        "announced = read_header(data, TransformSpec()).decoded_pixels\n"
        "to_pixels(data, TransformSpec())\n"
        "print(peak() - before, announced * 4)"
    )
    data = pictures.encode(Image.new(mode, (4000, 4000), (90, 120, 30)[: len(mode)] if mode != "P" else 3), format)
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True, cwd=ROOT)
    held, announced = map(int, done.stdout.split())
    assert 16e6 * 3 < held <= announced * 1.15 + 10e6, (held, announced)


def test_every_message_says_what_to_do() -> None:
    for data in (b"", b"text", pictures.png_of_size(9000, 9000), pictures.text_bomb(), pictures.jpeg()[:900]):
        message = refusal(data).message
        assert message[0].isupper() and message.endswith(".") and any(word in message for word in ("Send", "Open"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_the_bytes_it_is_pixels_or_bad_image(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP"]))
    original = bytearray(pictures.encode(pictures.photo((40, 30)), format))
    for _ in range(data.draw(st.integers(1, 8))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(original)))
    with contextlib.suppress(BadImage):
        assert to_pixels(bytes(original[:cut]), SPEC, ImageLimits(max_pixels=1_000_000)).shape == (224, 224, 3)


# -- the spec -------------------------------------------------------------------------------------------------------


def test_a_spec_survives_json() -> None:
    spec = TransformSpec(333, 299, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.25, 0.5))
    assert TransformSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_pixels_are_shared_by_specs_that_differ_in_normalisation_only() -> None:
    assert TransformSpec(mean=(0, 0, 0)).pixels_id == SPEC.pixels_id != TransformSpec(resize=300).pixels_id


@pytest.mark.parametrize("wrong", [{"crop": 300}, {"crop": 0}, {"interpolation": "nearest"}])
def test_a_senseless_spec_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        TransformSpec(**wrong)


@pytest.mark.parametrize("name", golden.SOURCES)
def test_golden_pixels(name: str) -> None:
    """Files that torchvision made once: a Pillow that decodes or resamples differently is found out here."""
    expected = np.asarray(Image.open(golden.FOLDER / f"{name}.png"))
    assert difference(to_pixels(golden.SOURCES[name](), SPEC), expected).max() <= 1
