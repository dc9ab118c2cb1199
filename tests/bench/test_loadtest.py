"""The load test beside wrk: wrk's figures as it measured them, and both against the same server."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import loadtest, wrk
from cli.loadtest.noop import noop

TOLD = {"requests": 4, "microseconds": 2_000_000, "failed": 0, "latencies": [[1000, 2], [2000, 1], [3000, 1]]}


def corrected(measured: Mapping[int, int], expected: int) -> Counter[int]:
    """As wrk does it: upwards, and what was added is not corrected again."""
    data = Counter(measured)
    for value in range(2 * expected, max(measured) + 1):
        count, added = data[value], value - expected
        while count and added > expected:
            data[added] += count
            added -= expected
    return +data


@pytest.mark.parametrize("seed", range(5))
def test_what_wrk_adds_is_taken_out(seed: int) -> None:
    chance = random.Random(seed)
    measured = Counter(int(chance.lognormvariate(5, 1)) for _ in range(300))
    interval = sum(value * count for value, count in measured.items()) // 300
    recorded = corrected(measured, interval)
    assert sum(recorded.values()) > 300
    assert wrk.uncorrected(recorded, interval) == measured


def test_a_quantile_is_one_that_was_seen() -> None:
    counts = {1: 50, 2: 49, 7: 1}
    assert [wrk.quantile(counts, share) for share in (0, 0.5, 0.51, 0.99, 0.991)] == [1, 1, 2, 2, 7]


def test_the_figures_are_of_all_requests_or_there_are_none() -> None:
    figures = wrk.figures(TOLD, 1, 0.004)
    assert (figures.rate, figures.p50, figures.p99, figures.cpu) == (2, 1, 3, 1)
    for wrong in ({"failed": 1}, {"requests": 0}, {"requests": 5}):
        with pytest.raises(SystemExit, match="bench: "):
            wrk.figures(TOLD | wrong, 1, 0.004)


def test_without_wrk_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/absent")
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        wrk.found(None)
    with pytest.raises(SystemExit, match="no /absent/wrk"):
        wrk.found("/absent/wrk")


@pytest.fixture
def program(tmp_path: Path) -> str:
    """wrk where it is at hand; else what tells as it does."""
    stand_in = tmp_path / "wrk"
    stand_in.write_text(f"#!/bin/sh\necho 'Running 1s test'; sleep 1; echo '{json.dumps(TOLD)}'\n")
    stand_in.chmod(0o755)
    return shutil.which("wrk") or str(stand_in)


def test_both_ways_have_a_row_and_a_ratio(program: str) -> None:
    bench = loadtest.Bench(program, loadtest.request(None), rounds=1, seconds=1)
    with noop(seconds=0.02) as server:
        found = dict(loadtest.compared(bench, server.url, 4, "20 ms"))
    assert list(found) == ["20 ms, by turns", "20 ms, at once"]
    for each in found.values():
        assert [len(figures) for figures in each.values()] == [1, 1]
        assert each[loadtest.OURS][0].p50 > 19, "timers count whole milliseconds"
        assert loadtest.of(each, "rate") == [each[loadtest.OURS][0].rate / each[loadtest.WRK][0].rate]
    for table in (loadtest.agreement(found, 4), loadtest.driven(found)):
        assert table.row_count == 2
