"""Shares and their intervals."""

import pytest

from inference.shares import share_of


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # By scipy: the confidence interval of binomtest, method "wilson".
    [
        (8, 10, 0.490162472, 0.943317849),
        (0, 10, 0.0, 0.277532800),
        (10, 10, 0.722467200, 1.0),
        (1, 1, 0.206549314, 1.0),
        (190, 256, 0.685300000, 0.791914069),
    ],
)
def test_intervals_are_wilsons(hits: int, of: int, low: float, high: float) -> None:
    found = share_of(hits, of)
    assert found.share == hits / of
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-8)
    assert (found.low == 0, found.high == 1) == (hits == 0, hits == of)
