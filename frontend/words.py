"""Sizes, counts, times and dates as a person says them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["clock_time", "count", "day", "duration", "milliseconds", "share", "size", "times", "zone"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def size(number: int) -> str:
    """Bytes in the unit that fits: 40 MB."""
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if number >= one:
            return f"{number / one:.{1 if number < 10 * one else 0}f} {unit}".replace(".0 ", " ")
    return f"{max(1, round(number / 1e3))} KB" if number else "0 KB"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: 1,234 pictures."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """About how long, in one unit."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def milliseconds(seconds: float) -> str:
    """A short time, to the digits that mean something: 8.4 ms, 31 ms, 1.2 s."""
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.{1 if seconds < 0.00995 else 0}f} ms"


def times(ratio: float) -> str:
    """How many times something is something else: 0.45 ×, 12 ×."""
    return f"{ratio:.{2 if ratio < 9.95 else 0}f} ×"


def share(probability: float) -> str:
    """A probability (0..1) in percent; never shown as nothing."""
    return f"{probability:.1%}" if probability >= 0.0005 else "<0.1%"


def zone(name: str | None) -> tzinfo:
    """The browser's time zone, by the name it gave; UTC where it gave none that is known."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def day(moment: datetime, where: tzinfo, now: datetime) -> str:
    """The date: 21 Dec, with the year where it is another one."""
    local = moment.astimezone(where)
    year = "" if local.year == now.astimezone(where).year else f" {local.year}"
    return f"{local.day} {_MONTHS[local.month - 1]}{year}"


def clock_time(moment: datetime, where: tzinfo, now: datetime) -> str:
    """The date and the time; of today the time alone."""
    local = moment.astimezone(where)
    today = local.date() == now.astimezone(where).date()
    return f"{'today' if today else day(moment, where, now)}, {local:%H:%M}"
