from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from frontend import gallery, stages
from frontend.api import Api
from frontend.batches import Batch, Batches, Limits, Notice
from frontend.rows import Wanted, read_rows
from tests.frontend.fake_batch_server import FakeBatchServer
from tests.frontend.fake_batches import FakeBatch, as_csv, sample_rows

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
PIXELS = "https://api/pixels/{}".format
SCRIPT = '<script>alert("x")</script>'


def seen(cloud: FakeBatchServer, *moves: Callable[[FakeBatch], object]) -> Batch:
    """A batch after these moves, as the page reads it."""
    batch = cloud.shelf.add("a.zip", rows=sample_rows(100))
    for move in moves:
        move(batch)
    return Batches(Api(cloud.url), "").all().batches[0]


def kinds(batch: Batch) -> str:
    """One letter a stage: past, now, next, bad."""
    return "".join({"past": "p", "now": "n", "next": "-", "bad": "!"}[k] for k in kind_words(stages.line(batch)))


def kind_words(html: str) -> list[str]:
    return re.findall(r'nf-stage nf-(\w+)"', html)


def state(name: str) -> Callable[[FakeBatch], object]:
    return lambda batch: setattr(batch, "state", name)


@pytest.mark.parametrize(
    ("move", "line"),
    [
        (state("created"), "-----"),
        (state("uploaded"), "n----"),
        (FakeBatch.preprocessing, "pn---"),
        (FakeBatch.ready, "ppp--"),
        (lambda batch: batch.predicting("small", "fp32"), "pppn-"),
        (FakeBatch.done, "ppppp"),
        (lambda batch: batch.failed("x", "y", restartable=True), "p!---"),
    ],
)
def test_the_line_says_what_is_past_and_what_is_now(
    cloud: FakeBatchServer, move: Callable[[FakeBatch], object], line: str
) -> None:
    assert kinds(seen(cloud, move)) == line


def test_a_failed_prediction_is_shown_at_its_stage(cloud: FakeBatchServer) -> None:
    moves = (lambda batch: batch.predicting("small", "fp32"), lambda batch: batch.failed("x", "y", restartable=False))
    assert kinds(seen(cloud, *moves)) == "ppp!-"


def test_progress_has_counts_time_and_the_servers_words(cloud: FakeBatchServer) -> None:
    html = stages.progress(seen(cloud, lambda batch: batch.preprocessing(250, "2 of 5 parts", 95)))
    assert 'aria-valuenow="25"' in html and "250 of 1,000 · about 2 min left · 2 of 5 parts" in html
    assert "nf-unsure" in stages.progress(seen(cloud, lambda batch: batch.preprocessing(detail="the job is starting")))
    assert stages.progress(seen(cloud, FakeBatch.done)) == ""


def test_how_long_things_are_kept_is_said_in_words(cloud: FakeBatchServer) -> None:
    assert "zip kept until 27 Nov" in stages.facts(seen(cloud), UTC, NOW)
    done = stages.facts(seen(cloud, FakeBatch.done), UTC, NOW)
    assert "results kept until 21 Dec" in done and "92 pictures · 4 errors · 4 skipped" in done


def test_notices_say_what_the_operator_says_and_what_will_not_stay() -> None:
    assert "Spark &lt;3" in stages.notice(Notice("Spark <3"))
    both = stages.notice(Notice("Hello.", disposable=True))
    assert "Hello." in both and "lives only as long as the application runs" in both


def test_nothing_a_stranger_wrote_reaches_the_page_unescaped(cloud: FakeBatchServer) -> None:
    cloud.shelf.notice = {"message": SCRIPT, "disposable": True}
    batch = cloud.shelf.add(SCRIPT, rows=sample_rows(25, [SCRIPT] * 25))
    batch.preprocessing(1, SCRIPT)
    batch.rows[0]["predictions"][1]["label"] = batch.rows[0]["predictions"][0]["label"] = SCRIPT
    batch.rows[19]["error"] = {"code": SCRIPT, "message": SCRIPT}
    batch.rows[24]["reason"] = SCRIPT
    rows = read_rows(iter([as_csv(batch.rows).encode()])).find(Wanted()).page(0, 100)
    listing = Batches(Api(cloud.url), SCRIPT).all()
    (found,) = listing.batches
    shown = [
        stages.row(found, selected=True, where=UTC, now=NOW),
        stages.heading(found),
        stages.line(found),
        stages.progress(found),
        stages.facts(found, UTC, NOW),
        stages.problem(SCRIPT, SCRIPT, SCRIPT),
        stages.notice(listing.notice),
        stages.downloads({SCRIPT: SCRIPT}),
        stages.title(Limits()),
        gallery.pictures(rows, f"{SCRIPT}{{}}".format),
        gallery.table(rows, f"{SCRIPT}{{}}".format),
    ]
    assert all(html for html in shown)
    assert not any("<script" in html or 'alert("x")' in html for html in shown)


def test_pictures_are_asked_for_only_where_there_are_any() -> None:
    rows = read_rows(iter([as_csv(sample_rows(25)).encode()])).find(Wanted()).page(0, 100)
    for html in (gallery.pictures(rows, PIXELS), gallery.table(rows, PIXELS)):
        assert html.count("<img ") == 23 and html.count('loading="lazy"') == 23
        assert 'src="https://api/pixels/18"' in html and "pixels/19" not in html
        assert "The picture breaks off" in html and "Skipped: a folder" in html


def test_a_reason_of_a_later_server_is_still_words() -> None:
    rows = sample_rows(25)
    rows[24]["reason"] = "too_odd"
    assert "Skipped: too odd" in gallery.table(
        read_rows(iter([as_csv(rows).encode()])).find(Wanted()).page(0, 100), PIXELS
    )
