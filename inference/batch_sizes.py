"""Which batch sizes a device should be prepared for, by what calls of each size cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

MOST = 128
LONGEST_SECONDS = 0.05
"""A call may take so long at the most: whoever comes behind it waits for it."""

WORTH = 1.05
"""What a size must be better by, in seconds of a call or in images a second, to be worth its memory."""


def sizes_that_pay(cost: Callable[[int], float], most: int = MOST) -> tuple[int, ...]:
    """Powers of two, the least first; the last is the largest batch that is worth while.

    `cost` prepares a size and gives the seconds of one call of it; it raises MemoryError where a size does not fit, and
    then the smaller ones have to do. Raises MemoryError where none fits.
    """
    costs: dict[int, float] = {}
    size = 1
    while size <= most:
        try:
            costs[size] = cost(size)
        except MemoryError:
            if not costs:
                raise
            break
        if costs[size] > LONGEST_SECONDS:
            break
        size *= 2
    return _kept(costs, _largest(costs))


def _largest(costs: Mapping[int, float]) -> int:
    """The least size that has nearly the most images a second of all that are quick enough."""
    quick = {size: size / seconds for size, seconds in costs.items() if seconds <= LONGEST_SECONDS or size == 1}
    return min(size for size, rate in quick.items() if rate * WORTH >= max(quick.values()))


def _kept(costs: Mapping[int, float], largest: int) -> tuple[int, ...]:
    """Those up to `largest` that are cheaper than filling up the next."""
    kept = [largest]
    for size in sorted((size for size in costs if size < largest), reverse=True):
        if costs[size] * WORTH <= costs[kept[0]]:
            kept.insert(0, size)
    return tuple(kept)
