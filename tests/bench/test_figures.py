"""The arithmetic behind the tables: what is compared with what."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench import overload
from bench.accuracy import share
from bench.batch import rate
from bench.peers.__main__ import agreement
from bench.roofline import expected, images_per_second
from bench.table import bars, ratios, spread, turns


def test_ratios_are_of_the_same_round() -> None:
    assert ratios([10, 40], [5, 10]) == [2, 4]
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])


def test_the_spread_is_the_median_and_the_edges() -> None:
    assert spread([90, 10, 20]) == "20 (10–90)"
    assert spread([9, 1, 2]) == "2.0 (1.0–9.0)"
    assert spread([1.25], 1, " %") == "1.2 % (1.2–1.2)"


def test_each_way_is_first_as_often_as_the_others() -> None:
    names = ["a", "b", "c"]
    orders = [turns(names, number) for number in range(6)]
    assert all(sorted(order) == names for order in orders)
    assert [order[0] for order in orders] == ["a", "b", "c", "a", "b", "c"]


def test_of_two_stages_on_the_same_cores_each_costs_its_time() -> None:
    assert expected([300], [100]) == [pytest.approx(75)]


def test_every_number_is_worked_on_once() -> None:
    done: list[int] = []
    figure = images_per_second(done.append, 0.2, threads=2)
    assert sorted(done) == list(range(len(done)))
    assert 0 < figure <= len(done) / 0.2


def test_past_the_start_one_picture_and_its_time_are_taken_off() -> None:
    whole, start = [{"one": 30.0, "two": 15.0}], [{"one": 20.0, "two": 5.0}]
    assert rate(whole, start, 101, "") == ([pytest.approx(101 / 45)], [pytest.approx(5)])
    assert rate(whole, start, 101, "two") == ([pytest.approx(101 / 15)], [pytest.approx(10)])
    assert spread(rate(start, whole, 101, "")[1]) == "–"


def test_the_interval_is_wilsons() -> None:
    hits, of, z = 190, 256, 1.959964
    middle = (hits + z * z / 2) / (of + z * z)
    reach = z / (of + z * z) * math.sqrt(hits * (of - hits) / of + z * z / 4)
    assert share(hits, of) == f"190 (74.2%; {middle - reach:.1%} to {middle + reach:.1%})"


def test_answers_of_exchanged_pictures_do_not_agree() -> None:
    torch = [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]
    right = [{0: 0.7, 1: 0.2}, {2: 0.7, 1: 0.2}]
    assert agreement(right, torch) == (2, 0)
    same, off = agreement(right[::-1], torch)
    assert (same, off) == (0, pytest.approx(0.6))


def test_a_load_without_refusals_has_a_row(tmp_path: Path) -> None:
    report = {
        "rate": 10.0,
        "counts": {"200": 10},
        "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
        "refusal_ms": {},
        "held": {"sent": 0, "refused": 0, "refused_before_body": 0},
        "timeline": [{"second": 0, "due": 10, "answered": 10, "slowest_ms": 3.0}],
        "memory": (100.0, 120.0, 101.0),
        "normal": 1.0,
    }
    table = overload.show([20.0], {1: [report]})
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells[:3] == ["1×", "10 (10–10)", "50 % (50–50)"]
    assert cells[5:9] == ["0 of 10", "–", "–", "0 of 0"]
    overload.draw(tmp_path / "load.png", {1: [report]})
    bars(tmp_path / "bars.png", "title", "unit", {"a": [1, 2, 3], "b": [4]})
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("load.png", "bars.png"))
