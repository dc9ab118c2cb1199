from __future__ import annotations

from frontend.api import Answer, Prediction, Problem, VariantName
from frontend.pictures import Picture
from frontend.side_by_side import Cell, SideBySide

A, B, C = (VariantName("m", precision) for precision in ("fp32", "int8", "pruned"))
ONE, TWO, THREE = (Picture(number, f"{number}.jpg", b"", None) for number in (1, 2, 3))
LABELS = {281: "tabby", 282: "tiger cat", 287: "lynx"}


def said(index: int, seconds: float) -> Cell:
    return Cell(Answer("x", (Prediction(LABELS[index], index, 0.5),)), seconds)


BAD = Cell(Answer("x", problem=Problem("corrupt", "Damaged.")))
TABLE = SideBySide(
    (ONE, TWO, THREE),
    (A, B),
    {
        (1, A): said(281, 0.2), (1, B): said(281, 0.1), (2, A): said(281, 0.4), (2, B): said(282, 0.1),
        (3, A): said(287, 9.0), (3, B): BAD,
    },
)  # fmt: skip


def test_answers_are_held_to_the_first_column() -> None:
    assert [TABLE.agree(picture) for picture in (ONE, TWO, THREE)] == [True, False, None]
    assert [TABLE.differs(TWO, variant) for variant in (A, B)] == [False, True]
    assert not TABLE.differs(THREE, B), "no answer is not another answer"
    assert (TABLE.compared, TABLE.agreeing, TABLE.waiting) == ([ONE, TWO], 1, 0)


def test_where_the_first_has_no_answer_the_next_takes_its_place() -> None:
    table = SideBySide((ONE,), (A, B, C), {(1, A): BAD, (1, B): said(281, 0.1), (1, C): said(287, 0.1)})
    assert [table.differs(ONE, variant) for variant in (A, B, C)] == [False, False, True]


def test_times_are_of_the_pictures_that_all_answered() -> None:
    seconds = [TABLE.typical_seconds(variant) for variant in (A, B)]
    assert [round(each or 0, 9) for each in seconds] == [0.3, 0.1]
    assert TABLE.ratio(A) == 1 and round(TABLE.ratio(B) or 0, 9) == 0.333333333


def test_what_is_not_there_yet_is_waited_for_and_no_verdict() -> None:
    table = SideBySide((ONE, TWO), (A, B), {(1, A): said(281, 0.1)})
    assert (table.waiting, table.agree(ONE), table.typical_seconds(A), table.ratio(B)) == (3, None, None, None)


def test_one_variant_agrees_with_nobody() -> None:
    assert SideBySide((ONE,), (A,), {(1, A): said(281, 0.1)}).agree(ONE) is None
