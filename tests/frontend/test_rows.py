from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from frontend.rows import Found, Rows, Wanted, read_rows
from tests.frontend.fake_batches import as_csv, sample_rows

ROOT = Path(__file__).parents[2]


def pieces(text: str, size: int = 100) -> Iterator[bytes]:
    """In pieces that break lines, cells and characters."""
    data = text.encode()
    return (data[at : at + size] for at in range(0, len(data), size))


def ok(entry: int, name: str, label: str, share: float) -> dict[str, object]:
    rest = [("rest", 9, 0.01)] * 4
    return {
        "entry": entry,
        "name": name,
        "status": "ok",
        "predictions": [{"label": a, "index": b, "probability": c} for a, b, c in [(label, 1, share), *rest]],
    }


def few() -> Rows:
    error = {"code": "corrupt", "message": "Damaged, sadly."}
    return read_rows(
        pieces(
            as_csv(
                [
                    ok(0, "b.jpg", "cat", 0.5),
                    ok(1, "A.jpg", "dog", 0.9),
                    {"entry": 2, "name": "c.jpg", "status": "error", "error": error},
                    {"entry": 3, "name": "x/", "status": "skipped", "reason": "folder"},
                    ok(4, "b.jpg", "cat", 0.75),
                ]
            )
        )
    )


def entries(found: Found) -> list[int]:
    return [row["entry"] for row in found.page(0, 1000)]


def column(rows: Rows, name: str) -> list[object]:
    return [row[name] for row in rows.find(Wanted()).page(0, 1000)]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_rows_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    text = as_csv(sample_rows(60, ['a,"b"\n🦜.jpg', "x" * 300]))
    rows = read_rows(pieces(text, size))
    assert len(rows.find(Wanted())) == 60
    assert column(rows, "name")[:2] == ['a,"b"\n🦜.jpg', "x" * 300]
    assert column(rows, "probability1")[0] == pytest.approx(0.35)


def test_what_is_no_answer_has_no_probability_and_keeps_its_words() -> None:
    rows = few()
    assert [share is None for share in column(rows, "probability1")] == [False, False, True, True, False]
    assert column(rows, "code")[2:4] == ["corrupt", "folder"] and column(rows, "message")[2] == "Damaged, sadly."


def test_a_name_or_a_class_called_nothing_is_not_nothing() -> None:
    rows = read_rows(pieces(as_csv([ok(0, "NA", "null", 0.5), ok(1, "nan", "None", 0.5)])))
    assert (column(rows, "name"), rows.by_label) == (["NA", "nan"], {"None": 1, "null": 1})


@pytest.mark.parametrize("name", ["=1+1.jpg", " =x", "-a.jpg", "'quoted.jpg", "@b.jpg", "plain.jpg"])
def test_the_apostrophe_against_spreadsheets_is_not_shown(name: str) -> None:
    assert column(read_rows(pieces(as_csv([ok(0, name, "cat", 0.5)]))), "name") == [name]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), [0, 1, 2, 3, 4]),
        (Wanted(labels=("cat",)), [0, 4]),
        (Wanted(labels=("cat", "dog"), least=0.75), [1, 4]),
        (Wanted(least=0.05), [0, 1, 4]),
        (Wanted(statuses=("error", "skipped")), [2, 3]),
        (Wanted(text="B.JPG"), [0, 4]),
        (Wanted(text="."), [0, 1, 2, 4]),
        (Wanted(text="(["), []),
        (Wanted(order="Most certain first"), [1, 4, 0, 2, 3]),
        (Wanted(order="Least certain first"), [0, 4, 1, 2, 3]),
        (Wanted(order="By name"), [1, 0, 4, 2, 3]),
        (Wanted(order="By class"), [0, 4, 1, 2, 3]),
        (Wanted(labels=("cat",), order="Most certain first"), [4, 0]),
    ],
)
def test_filters_and_orders(wanted: Wanted, found: list[int]) -> None:
    assert entries(few().find(wanted)) == found


def test_a_page_is_a_part_of_what_was_found_in_its_order() -> None:
    found = few().find(Wanted(order="Most certain first"))
    assert len(found) == 5
    assert [row["entry"] for row in found.page(1, 3)] == [4, 0]
    assert found.page(5, 10) == []


def test_what_a_person_writes_is_never_part_of_the_question() -> None:
    rows = few()
    for text in ("' OR 1=1 --", '"; DROP TABLE entries; --', "%", "_"):
        assert len(rows.find(Wanted(text=text))) == 0
        assert len(rows.find(Wanted(labels=(text,)))) == 0
    assert len(rows.find(Wanted())) == 5


def test_counts_are_those_of_the_rows_that_are_seen() -> None:
    rows = few()
    assert rows.by_status == {"ok": 3, "error": 1, "skipped": 1}
    assert rows.by_label == {"cat": 2, "dog": 1}
    assert rows.find(Wanted(least=0.6)).by_label() == {"cat": 1, "dog": 1}
    assert rows.find(Wanted(statuses=("error",))).by_label() == {}


def test_a_hundred_thousand_rows_take_little_memory() -> None:
    lines = as_csv(sample_rows(1000)).splitlines(keepends=True)

    def body() -> Iterator[bytes]:
        yield lines[0].encode()
        for thousand in range(100):
            numbered = enumerate((line[line.index(",") :] for line in lines[1:]), thousand * 1000)
            yield "".join(f"{number}{rest}" for number, rest in numbered).encode()

    before = psutil.Process().memory_info().rss
    rows = read_rows(body())
    assert len(rows.find(Wanted())) == 100_000 and len(rows.by_label) == 7
    assert rows.find(Wanted(order="By name")).page(99_990, 100_000)
    assert (psutil.Process().memory_info().rss - before) / 1e6 < 30


@pytest.mark.parametrize("text", ["<html>\nno table\n", "", "entry,name\n1,a\n"])
def test_a_table_of_another_shape_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_rows(iter([text.encode()]))


def test_a_row_that_breaks_off_is_an_error() -> None:
    whole = as_csv([ok(0, "a.jpg", "cat", 0.5), ok(1, "b.jpg", "cat", 0.5)])
    with pytest.raises(ValueError, match="expected"):
        read_rows(iter([whole[:-30].encode()]))


def test_the_explorer_loads_none_of_the_large_libraries() -> None:
    """Eighty megabytes that a page of tables and bars does not need."""
    code = "import sys, frontend.explorer; print([m for m in ('pandas', 'pyarrow', 'altair') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
