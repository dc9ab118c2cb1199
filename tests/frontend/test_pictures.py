from __future__ import annotations

import pytest

from frontend.api import Answer, VariantName
from frontend.pictures import PLACES, Tray, plain_name
from frontend.samples import SAMPLES, samples
from tests.pictures import jpeg

FP32, INT8 = VariantName("small", "fp32"), VariantName("small", "int8")


def tray(count: int = 0, max_bytes: int = 25_000_000) -> Tray:
    filled = Tray(max_bytes)
    filled.add((f"{number}.jpg", jpeg((32, 24), number)) for number in range(count))
    return filled


def test_the_tenth_is_refused_by_name_and_the_nine_stay() -> None:
    nine = tray(PLACES)
    before = list(nine.pictures)
    nine.add([("tenth.jpg", jpeg((32, 24))), ("folder/eleventh.jpg", jpeg((32, 24)))])
    assert nine.refused == ["tenth.jpg", "eleventh.jpg"]
    assert nine.pictures == before


def test_as_many_as_there_are_places_for_are_taken() -> None:
    most = tray(8)
    most.add([("ninth.jpg", jpeg((32, 24))), ("tenth.jpg", jpeg((32, 24)))])
    assert [most.pictures[-1].name, most.refused, most.full] == ["ninth.jpg", ["tenth.jpg"], True]


def test_removing_one_makes_room_and_keeps_the_other_answers() -> None:
    three = tray(3)
    first, second, third = three.pictures
    three.keep(FP32, three.pictures, [Answer("a"), Answer("b"), Answer("c")])
    three.remove(second.id)
    assert three.pictures == [first, third]
    assert three.waiting(FP32) == []
    assert three.answer(third, FP32) == Answer("c")


def test_only_new_pictures_and_new_variants_wait() -> None:
    two = tray(2)
    two.keep(FP32, two.pictures, [Answer("a"), Answer("b")])
    two.add([("new.jpg", jpeg((32, 24)))])
    assert [picture.name for picture in two.waiting(FP32)] == ["new.jpg"]
    assert len(two.waiting(INT8)) == 3


def test_the_same_file_twice_is_two_pictures() -> None:
    twice = Tray(25_000_000)
    twice.add([("a.jpg", jpeg((32, 24))), ("a.jpg", jpeg((32, 24)))])
    assert twice.pictures[0].id != twice.pictures[1].id


def test_what_is_too_large_is_told_and_never_sent() -> None:
    small = tray(max_bytes=1000)
    small.add([("big.jpg", b"\xff" * 1001)])
    picture = small.pictures[0]
    answer = small.answer(picture, None)
    assert answer and answer.problem and answer.problem.code == "too_many_bytes"
    assert (picture.data, small.waiting(FP32)) == (b"", [])


def test_answers_must_be_as_many_as_pictures() -> None:
    two = tray(2)
    with pytest.raises(ValueError, match="zip"):
        two.keep(FP32, two.pictures, [Answer("a")])


def test_clear_forgets_everything() -> None:
    two = tray(2)
    two.keep(FP32, two.pictures, [Answer("a"), Answer("b")])
    two.clear()
    assert (two.pictures, two.refused, two.full) == ([], [], False)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("cat.jpg", "cat.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\cat.jpg", "cat.jpg"),
        ("folder/", "folder"),
        ("a\x00b\nc.jpg", "abc.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("🦜.jpg", "🦜.jpg"),
        ("<script>.jpg", "<script>.jpg"),
        ("", "picture"),
        ("///", "picture"),
    ],
)
def test_plain_name(given: str, shown: str) -> None:
    assert plain_name(given) == shown


def test_the_samples_are_nine_small_credited_jpegs() -> None:
    from PIL import Image

    from tests.pictures import SAMPLES as FOLDER

    credited = (FOLDER / "CREDITS.md").read_text(encoding="utf-8")
    assert len(SAMPLES) == PLACES
    assert sorted(path.name for path in FOLDER.glob("*.jpg")) == sorted(SAMPLES)
    for name, data in samples():
        with Image.open(FOLDER / name) as image:
            assert image.format == "JPEG" and max(image.size) <= 640
        assert len(data) <= 100_000 and f"`{name}`" in credited
