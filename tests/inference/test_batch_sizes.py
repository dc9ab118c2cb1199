"""Which batch sizes are prepared, from costs that are made up: what a device costs is not known here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from inference.batch_sizes import LONGEST_SECONDS, MOST, sizes_that_pay


def device(start: float, image: float, at_once: int = 1, room: int = MOST) -> Callable[[int], float]:
    """Seconds of a call on a device that has room for `room` images and takes `at_once` in the time of one."""

    def cost(size: int) -> float:
        if size > room:
            raise MemoryError
        return start + image * -(-size // at_once)

    return cost


def test_a_device_that_gains_nothing_from_batches_gets_one_image_at_a_time() -> None:
    assert sizes_that_pay(device(0, 0.004)) == (1,)


def test_sizes_that_cost_as_much_as_the_next_are_left_out() -> None:
    """Up to 16 images cost what one does: a single one is filled up to 16."""
    assert sizes_that_pay(device(0, 0.001, at_once=16)) == (16,)


def test_where_each_call_costs_something_small_and_large_ones_are_kept() -> None:
    sizes = sizes_that_pay(device(0.004, 0.0001))
    assert sizes[-1] == MOST and sizes[0] == 1 and len(sizes) == 7
    costs = [0.004 + 0.0001 * size for size in sizes]
    assert all(larger >= 1.05 * smaller for smaller, larger in pairwise(costs))


def test_batches_do_not_grow_once_they_bring_no_more_images_a_second() -> None:
    assert sizes_that_pay(device(0, 0.001, at_once=8)) == (8,)


def test_a_size_that_is_hardly_better_is_not_worth_its_memory() -> None:
    cost = device(0.0005, 0.0002)
    assert 1 < 128 / cost(128) / (64 / cost(64)) < 1.05
    assert sizes_that_pay(cost)[-1] == 64


def test_no_call_takes_longer_than_others_may_wait() -> None:
    cost = device(0.04, 0.001)
    sizes = sizes_that_pay(cost)
    assert cost(sizes[-1]) <= LONGEST_SECONDS < cost(2 * sizes[-1])


def test_a_device_on_which_one_image_takes_too_long_gets_one_image() -> None:
    assert sizes_that_pay(device(0.5, 0.001)) == (1,)


def test_without_room_for_more_the_batches_are_smaller() -> None:
    cost = device(0.001, 0.0001, room=10)
    assert sizes_that_pay(cost)[-1] == 8
    with pytest.raises(MemoryError):
        sizes_that_pay(device(0, 0.001, room=0))
