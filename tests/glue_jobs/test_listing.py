"""A prefix as a source: cut as its pages arrive, found again part by part, and held to what it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contract.ziplist import ShardPlan
from glue_jobs import listing
from glue_jobs.listing import Listing, Part
from glue_jobs.s3 import s3_client
from glue_jobs.source import SourceLost
from tests.glue_jobs.buckets import Bucket


def put(bucket: Bucket, **files: bytes) -> None:
    for name, body in files.items():
        bucket.s3.put_object(Bucket=bucket.name, Key=name, Body=body)


def of(bucket: Bucket, prefix: str = "p/") -> Listing:
    return Listing(s3_client(), bucket.name, prefix)


def spans(parts: list[Part]) -> list[tuple[int, int, int]]:
    return [(part.plan.number, part.plan.first, part.plan.last) for part in parts]


def test_more_than_a_page_is_cut_and_found_again(bucket: Bucket) -> None:
    names = [f"{number:04d}.jpg" for number in range(1100)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: put(bucket, **{f"p/{name}": name.encode()}), names))
    put(bucket, **{"o/before.jpg": b"1", "q/after.jpg": b"2"})
    parts = list(of(bucket).parts())
    assert spans(parts) == [(0, 0, 256), (1, 256, 512), (2, 512, 768), (3, 768, 1024), (4, 1024, 1100)]
    found = [picture for part in parts for picture in of(bucket).pictures(part)]
    assert [(picture.index, picture.name) for picture in found] == list(enumerate(names))
    assert of(bucket).read(found[700]) == b"0700.jpg"


def test_cut_by_bytes_of_what_is_fetched(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PART_BYTES", 10)
    put(bucket, **{"p/a": b"12345", "p/b": b"12345", "p/c.zip": b"x" * 100, "p/d": b"1", "p/e": b"x" * 50, "p/f": b"1"})
    assert spans(list(of(bucket).parts())) == [(0, 0, 3), (1, 3, 4), (2, 4, 5), (3, 5, 6)]


def test_names_that_are_no_pictures_and_the_order_of_bytes(bucket: Bucket) -> None:
    keys = [
        "p/",
        "p/Z.jpg",
        "p/a b+c%20.jpg",
        "p/a/",
        "p/a/.DS_Store",
        "p/a/._1.jpg",
        "p/ä.jpg",
        "p/é/x.ZIP",
        "p/\U0001f600.jpg",
    ]
    put(bucket, **dict.fromkeys(reversed(keys), b"x"))
    (part,) = of(bucket).parts()
    found = of(bucket).pictures(part)
    assert [picture.key for picture in found] == sorted(keys, key=str.encode)
    assert {picture.name: picture.reason for picture in found} == {
        "": "folder", "Z.jpg": None, "a b+c%20.jpg": None, "a/": "folder", "a/.DS_Store": "system_file",
        "a/._1.jpg": "macos_metadata", "ä.jpg": None, "é/x.ZIP": "nested_zip", "\U0001f600.jpg": None,
    }  # fmt: skip
    assert of(bucket).read(found[2]) == b"x"


def test_a_picture_that_is_too_large_is_not_fetched(bucket: Bucket) -> None:
    put(bucket, **{"p/large.bmp": bytes(25_000_001)})
    (part,) = of(bucket).parts()
    (picture,) = of(bucket).pictures(part)
    assert not picture.readable and picture.error and picture.error[0] == "too_many_bytes"
    assert picture.error[1].startswith("The file has 25.0 MB; 25 MB is the most.")


def test_nothing_there_has_no_parts(bucket: Bucket) -> None:
    assert list(of(bucket).parts()) == []


@pytest.mark.parametrize("change", ["another", "one more", "one less", "none left"])
def test_a_listing_that_changed_is_lost(bucket: Bucket, change: str) -> None:
    put(bucket, **{"p/a": b"1", "p/c": b"2"})
    (part,) = of(bucket).parts()
    assert part.plan == ShardPlan(0, 0, 2)
    changes: dict[str, Any] = {
        "another": lambda: put(bucket, **{"p/a": b"3"}),
        "one more": lambda: put(bucket, **{"p/b": b"3"}),
        "one less": lambda: bucket.s3.delete_object(Bucket=bucket.name, Key="p/c"),
        "none left": lambda: [bucket.s3.delete_object(Bucket=bucket.name, Key=key) for key in ("p/a", "p/c")],
    }
    changes[change]()
    with pytest.raises(SourceLost, match="changed while they were read"):
        of(bucket).pictures(part)


def test_a_picture_that_was_replaced_or_deleted_is_lost(bucket: Bucket) -> None:
    put(bucket, **{"p/a": b"1", "p/b": b"2"})
    (part,) = of(bucket).parts()
    one, two = of(bucket).pictures(part)
    put(bucket, **{"p/a": b"3"})
    bucket.s3.delete_object(Bucket=bucket.name, Key="p/b")
    for picture in (one, two):
        with pytest.raises(SourceLost, match=f"{picture.key} was replaced or deleted"):
            of(bucket).read(picture)
