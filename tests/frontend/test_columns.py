from __future__ import annotations

from frontend.api import Answer, Prediction, Problem
from frontend.columns import heads, row, summary
from frontend.pictures import Picture
from frontend.side_by_side import Cell, SideBySide
from tests.frontend.test_side_by_side import ONE, TABLE, THREE, TWO, A, B

TITLES = {"m": "<Model>"}
EVIL = '<img src=x onerror=alert(1)>"'


def test_another_answer_is_marked_by_a_sign_and_by_words() -> None:
    shown = row(TABLE, TWO, 2, TITLES, "")
    assert "≠ Answers differ" in shown and shown.count('aria-label="differs from the first:"') == 1
    assert "≠</span> tiger cat" in shown and "≠</span> tabby" not in shown
    assert "= The same answer" in row(TABLE, ONE, 1, TITLES, "")
    assert "nf-verdict" not in row(TABLE, THREE, 3, TITLES, "") and "<code>corrupt</code>" in row(
        TABLE, THREE, 3, {}, ""
    )


def test_every_cell_names_its_variant() -> None:
    for picture in (ONE, TWO, THREE):
        assert row(TABLE, picture, 1, TITLES, "").count("&lt;Model&gt;") == 2


def test_the_heads_tell_times_and_ratios() -> None:
    assert "<b>300 ms</b>" in heads(TABLE, TITLES) and "<b>100 ms</b> <span>0.33 × the first</span>" in heads(TABLE, {})


def test_the_summary_counts_and_says_what_is_left() -> None:
    assert "Both variants give the same answer for <b>1 of 2 pictures</b>. 1 picture not counted" in summary(TABLE)
    waiting = SideBySide((ONE, TWO), (A, B), {(1, A): TABLE.cells[1, A]})
    assert "3 answers to come" in summary(waiting) and "not counted" not in summary(waiting)
    assert "Choose a second variant" in summary(SideBySide((ONE,), (A,), {(1, A): TABLE.cells[1, A]}))


def test_what_strangers_wrote_is_only_text() -> None:
    picture = Picture(1, EVIL, b"", None)
    good = Cell(Answer(EVIL, (Prediction(EVIL, 1, 0.5), Prediction(EVIL, 2, 0.5))), 0.1)
    bad = Cell(Answer(EVIL, problem=Problem(EVIL, EVIL)))
    shown = row(SideBySide((picture,), (A, B), {(1, A): good, (1, B): bad}), picture, 1, {"m": EVIL}, EVIL)
    waiting = row(SideBySide((picture,), (A,), {}), picture, 1, {"m": EVIL}, EVIL)
    for html in (shown, waiting, heads(TABLE, {"m": EVIL})):
        assert "<img src=x" not in html and 'alert(1)&gt;"' not in html
