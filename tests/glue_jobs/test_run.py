"""What runs share: bytes that come in ahead, times that are counted once, and zips that are not read for every task."""

from __future__ import annotations

import importlib
import sys
import threading
import time
import zipfile
from pathlib import Path
from zipimport import zipimporter

import pytest

from contract.shards import Counts
from contract.ziplist import ShardPlan
from glue_jobs.reports import TaskWatch
from glue_jobs.run import forget_zips
from glue_jobs.s3 import ReadAhead


class Slow:
    """Reads when it is let; counts who is at it."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.gate = threading.Semaphore(0)
        self._lock = threading.Lock()

    def read(self, number: int) -> bytes:
        with self._lock:
            self.asked.append(number)
        assert self.gate.acquire(timeout=10)
        if number == 4:
            raise OSError("four")
        return str(number).encode()

    def wait_until_asked(self, numbers: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.asked) < numbers:
            assert time.monotonic() < deadline, self.asked
            time.sleep(0.005)


@pytest.mark.parametrize("most", [1, 2])
def test_as_many_as_wanted_come_in_ahead_and_no_more(most: int) -> None:
    slow = Slow()
    with ReadAhead(slow.read, [(number,) for number in range(6)], most) as ahead:
        slow.wait_until_asked(most)
        time.sleep(0.05)
        assert sorted(slow.asked) == list(range(most))  # nothing was taken yet
        slow.gate.release(most)
        assert ahead(0) == b"0"
        slow.wait_until_asked(most + 1)  # the next one is under way while the caller works
        time.sleep(0.05)
        assert sorted(slow.asked) == list(range(most + 1))
        slow.gate.release(100)
        assert [ahead(number) for number in (1, 2, 3)] == [b"1", b"2", b"3"]
        with pytest.raises(OSError, match="four"):
            ahead(4)


def test_bytes_are_never_those_of_something_else() -> None:
    slow = Slow()
    slow.gate.release(100)
    with ReadAhead(slow.read, [(1,), (2,)]) as ahead, pytest.raises(ValueError, match="is next"):
        ahead(2)


def test_what_is_no_longer_wanted_is_not_read() -> None:
    slow, before = Slow(), set(threading.enumerate())
    slow.gate.release(100)
    with ReadAhead(slow.read, [(number,) for number in range(100)], 2) as ahead:
        ahead(0)
    assert len(slow.asked) <= 4
    assert set(threading.enumerate()) <= before


def test_a_stage_within_a_stage_counts_once() -> None:
    watch, plan = TaskWatch(), ShardPlan(0, 0, 1)

    def read() -> bytes:
        time.sleep(0.05)
        return b"12345"

    with watch.stage("decode"):
        time.sleep(0.02)
        for _ in range(2):
            watch.reading(read)()
        with watch.stage("classify"):
            time.sleep(0.03)
    report = watch.report(plan, Counts(1, 0, 0))
    assert report.read_bytes == 10 and report.seconds["read"] >= 0.1 and report.seconds["classify"] >= 0.03
    assert 0.02 <= report.seconds["decode"] < 0.1  # the whole of it is more than 0.15
    assert set(report.seconds) == {"decode", "read", "classify", "cpu"}


def test_modules_in_zips_are_still_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        archive.writestr("words_in_a_zip/__init__.py", "")
        for name in ("one", "two"):
            archive.writestr(f"words_in_a_zip/{name}.py", f"WORD = {name!r}")
    monkeypatch.syspath_prepend(str(tmp_path / "words.zip"))
    assert importlib.import_module("words_in_a_zip.one").WORD == "one"
    assert [path for path, finder in sys.path_importer_cache.items() if isinstance(finder, zipimporter)]
    forget_zips()
    assert not [path for path, finder in sys.path_importer_cache.items() if isinstance(finder, zipimporter)]
    assert importlib.import_module("words_in_a_zip.two").WORD == "two"
