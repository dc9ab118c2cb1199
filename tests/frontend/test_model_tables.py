"""The tables of the page of models: shelf.py and measured.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from frontend import measured, shelf
from frontend.api import Absent, Agreement, Api, Model, Transform, Variant
from frontend.evaluation import Evaluation, NotMeasured, last_evaluation
from tests.frontend.evaluations import evaluation, variant
from tests.frontend.fake_server import FakeServer

EVIL = '<img src=x onerror=alert(1)>"'
READY = Model(
    "small", "Small", True, True, "large is missing: run `ninefold models build large`",
    (Variant("fp32", False, 18_600_000, Agreement("torch", 32, 1.0)), Variant("int8", True)),
    "it agrees too seldom.", Transform(256, 224, "bilinear"), (Absent("pruned", "ninefold models prune small"),),
)  # fmt: skip
MISSING = Model("large", "Large", False, False, "it has not been built.", (), absent=(Absent("fp32", "build it"),))


@pytest.fixture
def found(server: FakeServer) -> Evaluation:
    server.evaluation = evaluation(variant(errors=2), variant("int8", images_per_second=12_345.6))
    told = last_evaluation(Api(server.url))
    assert told is not None
    return told


def test_a_model_is_shown_with_its_transform_its_sizes_and_how_near_it_is() -> None:
    shown = shelf.table([READY])
    assert "shorter side to 256 (bilinear), of that the centre 224 × 224" in shown
    assert "19 MB" in shown and "100.0% <span>of 32 pictures, against torch</span>" in shown
    assert "not made yet: pruned" in shown and "Not in int8, which is faster: it agrees too seldom." in shown
    assert "It answers because large is missing: run <code>ninefold models build large</code>." in shown


def test_the_variant_that_answers_is_marked_in_words_and_only_that_one() -> None:
    rows = shelf.table([READY]).split("<tr>")
    assert ["ready, <b>answers by default</b>" in row for row in rows if 'scope="row"' in row] == [False, True]


def test_a_missing_model_says_so_and_why() -> None:
    shown = shelf.table([MISSING])
    assert ">missing</span>" in shown and "Missing: it has not been built." in shown and "ready" not in shown


def test_the_evaluation_has_its_figures_with_their_intervals(found: Evaluation) -> None:
    fp32, int8 = measured.table(found.variants).split("<tbody>")[1].split("</tr>")[:2]
    for words in ("<td>1</td>", "<b>74.2%</b><span>69.2–79.2</span>", "<td>12.5</td>", "<td>120</td>", "17 MB"):
        assert words in fp32
    assert "2 pictures not answered" in fp32 and "not answered" not in int8
    for words in ("<td>2</td>", "<b>94.1%</b>", "<td>6.25</td>", "<td>0.50 ×</td>", "<td>12,346</td>"):
        assert words in int8


def test_it_is_told_what_the_figures_hang_on(found: Evaluation) -> None:
    told = measured.origin(found, UTC, datetime(2026, 1, 1, tzinfo=UTC))
    assert "4 Mar 2025, 10:00" in told and "256 labelled pictures of <b>holiday</b> (labels in a CSV)" in told
    assert "A processor, 2 cores, OpenVINO 2026.4.1" in told


def test_another_device_than_the_processor_is_told(found: Evaluation) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert "<b>CUDA</b> on A processor" in measured.origin(replace(found, device="CUDA"), UTC, now)
    assert "CPU" not in measured.origin(found, UTC, now)


def test_what_strangers_wrote_is_only_text(server: FakeServer) -> None:
    evil = evaluation(
        variant(EVIL, title=EVIL, model=EVIL),
        data={"name": EVIL, "layout": EVIL, "images": 1},
        machine={"processor": EVIL, "cores": 2, "openvino": EVIL},
    )
    server.evaluation = evil
    told = last_evaluation(Api(server.url))
    assert told is not None
    model = Model(
        EVIL, EVIL, True, True, EVIL, (Variant(EVIL, True, 1, Agreement(EVIL, 1, 1.0)),), EVIL,
        Transform(1, 1, EVIL), (Absent(EVIL, EVIL),),
    )  # fmt: skip
    shown = [
        shelf.table([model]),
        shelf.to_add(model),
        measured.table(told.variants),
        measured.origin(told, UTC, datetime.now(UTC)),
        measured.left_out([NotMeasured(EVIL, EVIL)]),
    ]
    assert not [html for html in shown if "<img" in html or 'alert(1)&gt;"' in html]
