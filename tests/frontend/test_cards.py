from __future__ import annotations

import re

from frontend import cards
from frontend.api import Answer, Model, Prediction, Problem, Variant, VariantName
from frontend.pictures import Picture

SCRIPT = '<script>alert("x")</script>'


def test_nothing_a_stranger_wrote_reaches_the_page_unescaped() -> None:
    model = Model(SCRIPT, SCRIPT, True, True, SCRIPT, (Variant(SCRIPT, True),))
    shown = [
        cards.top(Picture(1, SCRIPT, b"", None), 1),
        cards.top(Picture(1, SCRIPT, b"", b"jpeg"), 1),
        cards.body(Answer(SCRIPT, (Prediction(SCRIPT, 1, 0.5),)), 5, ""),
        cards.body(Answer(SCRIPT, problem=Problem(SCRIPT, SCRIPT)), 5, ""),
        cards.body(None, 5, SCRIPT),
        cards.refused([SCRIPT], 9),
        cards.notice(SCRIPT, "stop"),
        cards.who_answers(model, VariantName(SCRIPT, SCRIPT)),
        cards.missing([model]),
    ]
    assert not any("<script" in html or 'alert("x")' in html for html in shown)


def test_a_card_shows_as_many_predictions_as_asked_for() -> None:
    answer = Answer("a", tuple(Prediction(f"class {rank}", rank, 0.1) for rank in range(10)))
    assert cards.body(answer, 3, "").count('role="listitem"') == 3


def test_tiny_probabilities_are_not_shown_as_nothing() -> None:
    html = cards.body(Answer("a", (Prediction("x", 1, 0.99949), Prediction("y", 2, 0.0001))), 2, "")
    assert re.findall(r'nf-share">(.*?)<', html) == ["99.9%", "&lt;0.1%"]


def test_every_picture_has_words_for_those_who_do_not_see_it() -> None:
    assert 'alt="Picture 2: cat.jpg"' in cards.top(Picture(1, "cat.jpg", b"", b"jpeg"), 2)
    assert 'aria-label="Picture 2: cat.jpg, no preview"' in cards.top(Picture(1, "cat.jpg", b"", None), 2)


def test_a_refusal_says_which_and_what_to_do() -> None:
    assert "“tenth.jpg” was not taken: there is room for nine pictures. Remove one" in cards.refused(["tenth.jpg"], 9)
    assert "“a”, “b” were not taken" in cards.refused(["a", "b"], 9)
