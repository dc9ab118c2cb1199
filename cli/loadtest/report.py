"""What a load test says at its end: one dictionary for programs, one table for people."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from rich.table import Table
from rich.text import Text

from cli.loadtest.fleet import Measured

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
CURVE = (0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1)
"""Shares of the requests at which the JSON states the latency, for plots."""

Report = dict[str, Any]


def report(measured: Measured) -> Report:
    """All figures; latencies in milliseconds, null where nothing was answered."""
    tally, plan, elapsed = measured.tally, measured.plan, measured.elapsed
    latency = {name: tally.quantile_ms(share) for name, share in QUANTILES.items()}
    mean = 1000 * tally.latency.sum / tally.good if tally.good else None
    return {
        "url": _public(plan.url),
        "began_at": measured.began.isoformat(timespec="seconds"),
        "answered_by": dict(tally.variants.most_common()),
        "images_per_request": plan.images,
        "workers": plan.workers,
        "threads": plan.threads,
        "connections": plan.workers * plan.connections,
        "samples": None if plan.seconds else plan.samples,
        "seconds": plan.seconds or None,
        "rate": plan.rate or None,
        "arrivals": plan.arrivals.value if plan.rate else None,
        "warmup_seconds": plan.warmup,
        "timeout_seconds": plan.timeout,
        "stopped": measured.stopped,
        "elapsed_seconds": elapsed,
        "requests": tally.requests,
        "answered": tally.good,
        "failed": tally.requests - tally.good,
        "inferences": tally.images,
        "inferences_per_second": tally.images / elapsed if elapsed else 0.0,
        "requests_per_second": tally.good / elapsed if elapsed else 0.0,
        "latency_ms": {"mean": mean, **latency, "max": 1000 * tally.slowest if tally.good else None},
        "curve": [{"share": share, "ms": tally.quantile_ms(share)} for share in CURVE],
        "errors": dict(tally.errors.most_common()),
        "row_errors": dict(tally.rows.most_common()),
        "late": tally.late,
        "bytes_sent": tally.sent,
        "bytes_received": tally.received,
        "client_cpu_ms_per_request": 1000 * tally.cpu_seconds / tally.requests if tally.requests else None,
        "timeline": _timeline(measured),
    }


def _timeline(measured: Measured) -> list[Report]:
    """A row a second: how many requests ended in it, well or not, and the longest latency of those that did well."""
    answered, failed, peaks = measured.tally.answered, measured.tally.failed, measured.tally.peaks
    last = max((*answered, *failed), default=-1)
    return [
        {
            "second": second,
            "answered": answered[second],
            "failed": failed[second],
            "max_ms": 1000 * peaks[second] if second in peaks else None,
        }
        for second in range(last + 1)
    ]


def table(figures: Report) -> Table:
    """The figures that people look for."""
    made = Table(title=Text(title(figures)), title_justify="left", show_header=False)
    made.add_column()
    made.add_column(justify="right")
    for name, value in _rates(figures):
        made.add_row(name, value)
    made.add_section()
    for name in ("p50", "p95", "p99", "max"):
        made.add_row(f"latency {name}", _ms(figures["latency_ms"][name]))
    made.add_section()
    for name, value in _errors(figures):
        made.add_row(Text(name, style="red"), Text(value, style="red"))
    if not figures["failed"]:
        made.add_row("errors", "0")
    made.add_row("bytes sent, received", f"{figures['bytes_sent']:,}, {figures['bytes_received']:,}")
    return made


def title(figures: Report) -> str:
    """Who answered, and what it was asked, in two lines."""
    loop = f"{figures['rate']:g} requests/s, {figures['arrivals']}" if figures["rate"] else "closed loop"
    each, number = figures["connections"], figures["images_per_request"]
    connections = f"{each} connection{'s' if each > 1 else ''}"
    images = f"{number} image{'s' if number > 1 else ''} a request"
    who = " and ".join(name for name in figures["answered_by"] if name)
    where = "/".join(figures["url"].split("/")[:3])
    return f"{who} at {where}\n{loop}, {connections}, {images}".removeprefix(" at ")


def _public(url: str) -> str:
    """The address without a name and a password in it: figures are shown around."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _rates(figures: Report) -> list[tuple[str, str]]:
    rows = [
        ("inferences per second", f"{figures['inferences_per_second']:,.1f}"),
        ("requests per second", f"{figures['requests_per_second']:,.1f}"),
        ("requests, of them answered", f"{figures['requests']:,}, {figures['answered']:,}"),
        ("seconds", f"{figures['elapsed_seconds']:,.2f}"),
    ]
    if len(figures["answered_by"]) > 1:
        rows += [(f"answered by {name}", f"{count:,}") for name, count in figures["answered_by"].items()]
    if figures["rate"]:
        rows.append(("sent over 10 ms late, all connections busy", f"{figures['late']:,}"))
    return rows


def _errors(figures: Report) -> list[tuple[str, str]]:
    requests = [(f"error: {kind}", f"{count:,}") for kind, count in figures["errors"].items()]
    return requests + [(f"rows with {code}", f"{count:,}") for code, count in figures["row_errors"].items()]


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.{1 if value >= 10 else 2}f} ms"
