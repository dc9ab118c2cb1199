from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from frontend.words import clock_time, count, day, duration, milliseconds, share, size, times, zone

NOW = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 KB"), (12, "1 KB"), (999_000, "999 KB"), (1_500_000, "1.5 MB"), (40_000_000, "40 MB"), (2e9, "2 GB")],
)
def test_sizes(number: int, words: str) -> None:
    assert size(number) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (59, "59 s"), (95, "2 min"), (7200, "2.0 h")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0084, "8.4 ms"),
        (0.00994, "9.9 ms"),
        (0.00999, "10 ms"),
        (0.0314, "31 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1.0 s"),
    ],
)
def test_short_times(seconds: float, words: str) -> None:
    assert milliseconds(seconds) == words


@pytest.mark.parametrize(("ratio", "words"), [(0.446, "0.45 ×"), (1, "1.00 ×"), (9.97, "10 ×"), (12.3, "12 ×")])
def test_ratios(ratio: float, words: str) -> None:
    assert times(ratio) == words


def test_counts_and_shares() -> None:
    assert (count(1, "file"), count(1234, "file"), count(2, "entry", "entries")) == (
        "1 file",
        "1,234 files",
        "2 entries",
    )
    assert (share(0.5), share(0.0001)) == ("50.0%", "<0.1%")


def test_dates_are_the_persons_own() -> None:
    east = timezone(timedelta(hours=1))
    assert day(NOW, UTC, NOW) == "20 Nov"
    assert day(NOW, east, NOW) == "21 Nov"
    assert day(NOW + timedelta(days=60), UTC, NOW) == "19 Jan 2027"
    assert clock_time(NOW, UTC, NOW) == "today, 23:30"
    assert clock_time(NOW, east, NOW - timedelta(days=1)) == "21 Nov, 00:30"


def test_a_time_zone_that_nobody_knows_is_utc() -> None:
    assert zone("Europe/Berlin").utcoffset(NOW) == timedelta(hours=1)
    for name in (None, "", "Nowhere/Land", "../etc/passwd"):
        assert zone(name).utcoffset(NOW) == timedelta(0)
