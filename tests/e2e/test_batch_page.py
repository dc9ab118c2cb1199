"""What becomes of a zip, seen in a browser: its stages, its predictions, the rows, and strangers' names in them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.batch_visitor import BatchVisitor, random_zip
from tests.e2e.colours import contrast, luminance
from tests.frontend.fake_batch_server import FakeBatchServer
from tests.frontend.fake_batches import FakeBatch, sample_rows

pytestmark = pytest.mark.browser

HOSTILE = [
    "<script>window.hacked=1</script>.jpg",
    '"><img src=x onerror=window.hacked=1>.jpg',
    "](javascript:window.hacked=1) **b** :smile: $x$.jpg",
    "\u202egpj.exe\u2066.jpg",
    "n" * 300 + ".jpg",
    "=cmd|' /C calc'!A0.jpg",
]


@pytest.fixture
def done(cloud: FakeBatchServer) -> FakeBatch:
    """A batch of 200 entries whose predictions are there."""
    batch = cloud.shelf.add("holiday.zip", rows=sample_rows(200))
    batch.done()
    return batch


def test_a_zip_goes_through_all_its_stages(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    batch_visitor.choose(random_zip(tmp_path / "photos.zip", 5))
    batch_visitor.told("has arrived")
    (batch,) = batch_visitor.cloud.shelf.batches.values()
    expect(batch_visitor.stage("now")).to_have_text(["Uploaded"])
    batch_visitor.sees("its directory is being checked")
    batch.rows, batch.entries = sample_rows(200), 200
    batch.preprocessing(80, "2 of 5 parts are written", 90)
    expect(batch_visitor.stage("now")).to_have_text(["Preprocessing"])
    batch_visitor.sees("80 of 200 · about 2 min left · 2 of 5 parts are written")
    expect(batch_visitor.page.get_by_role("progressbar", name="preprocessing")).to_have_attribute("aria-valuenow", "40")
    batch.preprocessing(160)
    batch_visitor.sees("160 of 200")
    batch.ready()
    expect(batch_visitor.stage("past")).to_have_text(["Uploaded", "Preprocessing", "Ready"])
    batch_visitor.sees("184 pictures · 8 errors · 8 skipped")
    batch_visitor.press("Batch predict")
    expect(batch_visitor.stage("now")).to_have_text(["Predicting"])
    batch.predicting("small", "fp32", 100, 12)
    batch_visitor.sees("100 of 200 · about 12 s left")
    batch.done()
    expect(batch_visitor.stage("past")).to_have_count(5)
    expect(batch_visitor.tiles).to_have_count(40)
    batch_visitor.sees("results kept until 21 Dec")


def test_a_failed_batch_says_why_and_starts_again(batch_visitor: BatchVisitor) -> None:
    batch = batch_visitor.cloud.shelf.add("scans.zip", entries=10)
    batch.failed("job_failed", "The job ran <b>out of</b> memory.", restartable=True)
    batch_visitor.open(batch)
    batch_visitor.sees("The job ran <b>out of</b> memory.")
    expect(batch_visitor.stage("bad")).to_have_text(["Preprocessing"])
    batch_visitor.press("Start again")
    expect(batch_visitor.stage("now")).to_have_text(["Preprocessing"])
    batch_visitor.sees("the job is starting")
    batch.failed("zip_bomb", "The zip would unpack to 30 GB.", restartable=False)
    batch_visitor.sees("The zip would unpack to 30 GB.")
    expect(batch_visitor.page.get_by_role("button", name="Start again")).to_have_count(0)


def test_a_further_variant_is_predicted_from_the_same_batch(batch_visitor: BatchVisitor, done: FakeBatch) -> None:
    batch_visitor.open(done)
    predict = batch_visitor.page.get_by_role("button", name="Batch predict")
    expect(predict).to_be_disabled()
    batch_visitor.page.get_by_role("radio", name="int8").click()
    expect(predict).to_be_enabled()
    predict.click()
    expect(batch_visitor.page.get_by_role("progressbar", name="predicting")).to_be_visible()
    expect(batch_visitor.tiles).to_have_count(40)
    done.done("small", "int8")
    expect(batch_visitor.page.get_by_role("combobox", name="Results of")).to_be_visible()


def test_the_address_keeps_the_batch_that_was_chosen(batch_visitor: BatchVisitor, done: FakeBatch) -> None:
    other = batch_visitor.cloud.shelf.add("other.zip")
    other.ready()
    batch_visitor.open()
    batch_visitor.show("holiday.zip")
    expect(batch_visitor.page).to_have_url(re.compile(f"[?]batch={done.id}$"))
    batch_visitor.reload()
    expect(batch_visitor.page.locator(".nf-batch-name")).to_have_text("holiday.zip")
    expect(batch_visitor.page.locator(".nf-picked .nf-pick-name")).to_have_text("holiday.zip")


def test_a_batch_that_somebody_else_adds_is_noticed(batch_visitor: BatchVisitor) -> None:
    batch_visitor.sees("No batches yet")
    batch_visitor.cloud.shelf.add("dropped-in.zip", state="uploaded")
    expect(batch_visitor.row("dropped-in.zip")).to_have_count(1)


def test_delete_asks_first(batch_visitor: BatchVisitor, done: FakeBatch) -> None:
    batch_visitor.open(done)
    batch_visitor.press("Delete")
    batch_visitor.sees("This cannot be undone.")
    assert batch_visitor.cloud.shelf.deleted == []
    batch_visitor.press("Delete for good")
    batch_visitor.sees("No batches yet")
    assert batch_visitor.cloud.shelf.deleted == [done.id]


def test_filters_narrow_what_is_seen(batch_visitor: BatchVisitor, done: FakeBatch) -> None:
    batch_visitor.open(done)
    expect(batch_visitor.among).to_have_text("1–40 of 200 files")
    page = batch_visitor.page
    page.get_by_text("Errors 8", exact=True).click()
    expect(batch_visitor.among).to_have_text("1–8 of 8 files")
    expect(page.get_by_text("The picture breaks off in the middle.")).to_have_count(8)
    page.get_by_text("Errors 8", exact=True).click()
    page.get_by_label("Name contains").fill("IMG_0001")
    page.get_by_label("Name contains").press("Enter")
    expect(batch_visitor.among).to_have_text("1–10 of 10 files")
    page.get_by_role("combobox", name="Classes").click()
    page.get_by_role("option", name=re.compile(r"^Egyptian cat \(\d+\)$")).click()
    cats = [row for row in done.rows[10:20] if row["status"] == "ok" and row["predictions"][0]["index"] == 0]
    expect(batch_visitor.among).to_have_text(f"1–{len(cats)} of {len(cats)} files")
    page.get_by_label("Name contains").fill("nowhere")
    page.get_by_label("Name contains").press("Enter")
    expect(batch_visitor.among).to_have_text("Nothing fits the filters")


def test_pages_are_turned_and_a_filter_begins_at_the_first(batch_visitor: BatchVisitor, done: FakeBatch) -> None:
    batch_visitor.open(done)
    for first in (41, 81):
        batch_visitor.press("Next")
        expect(batch_visitor.among).to_have_text(f"{first}–{first + 39} of 200 files")
    batch_visitor.press("Back")
    expect(batch_visitor.among).to_have_text("41–80 of 200 files")
    expect(batch_visitor.tiles.first).to_contain_text("img_00040.jpg")
    batch_visitor.page.get_by_text("Answered 184", exact=True).click()
    expect(batch_visitor.among).to_have_text("1–40 of 184 files")


def test_the_table_shows_five_classes_and_the_chart_follows_the_filters(
    batch_visitor: BatchVisitor, done: FakeBatch
) -> None:
    batch_visitor.open(done)
    page = batch_visitor.page
    expect(page.get_by_text("Most frequent of 7 classes")).to_be_visible()
    expect(page.locator(".nf-frequent")).to_be_visible()
    page.get_by_role("radio", name="Table").click()
    expect(page.locator(".nf-line")).to_have_count(25)
    expect(page.locator(".nf-others").first).to_contain_text("espresso")
    page.get_by_text("Skipped 8", exact=True).click()
    expect(page.locator(".nf-line")).to_have_count(8)
    expect(page.get_by_text("Skipped: a folder")).to_have_count(8)
    expect(page.locator(".nf-frequent")).to_have_count(0)


def test_thumbnails_come_to_the_browser_from_the_server_itself(batch_visitor: BatchVisitor, done: FakeBatch) -> None:
    batch_visitor.open(done)
    image = batch_visitor.page.locator(".nf-tile img").nth(2)
    expect(image).to_have_attribute("src", f"{batch_visitor.cloud.url}/v1/batches/{done.id}/pixels/2")
    expect(image).to_have_js_property("naturalWidth", 224)
    expect(batch_visitor.page.locator(".nf-tile img")).to_have_count(37)
    asked = [told for told in batch_visitor.cloud.asked if "/pixels/" in told]
    assert 0 < len(asked) < 37, "only what is in view is fetched"


def test_the_downloads_are_what_the_server_answers(batch_visitor: BatchVisitor, done: FakeBatch) -> None:
    batch_visitor.open(done)
    saved: dict[str, str] = {}
    for form in ("JSON", "JSONL", "CSV"):
        with batch_visitor.page.expect_download() as started:
            batch_visitor.page.get_by_role("link", name=form, exact=True).click()
        assert started.value.url.startswith(f"{batch_visitor.cloud.url}/v1/batches/{done.id}/results?format=")
        saved[form] = Path(started.value.path()).read_text(encoding="utf-8")
    assert json.loads(saved["JSON"])["results"] == done.rows
    assert [json.loads(line) for line in saved["JSONL"].splitlines()] == done.rows
    assert len(list(csv.DictReader(io.StringIO(saved["CSV"], newline="")))) == 200


@pytest.mark.parametrize("view", ["Pictures", "Table"])
def test_hostile_names_in_a_zip_are_only_text(batch_visitor: BatchVisitor, view: str) -> None:
    batch = batch_visitor.cloud.shelf.add(HOSTILE[0][:-4] + ".zip", rows=sample_rows(20, HOSTILE))
    batch.rows[5]["predictions"][0]["label"] = '<b onclick=x>"cat"</b>'
    batch.rows[19]["error"] = {"code": "<i>", "message": "<script>window.hacked=1</script>"}
    batch.done()
    batch_visitor.open(batch)
    page = batch_visitor.page
    page.get_by_role("radio", name=view).click()
    expect(page.locator(".nf-file")).to_have_count(20)
    for place, name in enumerate(HOSTILE):
        expect(page.locator(".nf-file").nth(place)).to_have_text(name, use_inner_text=False)
        # Streamlit's sanitizer drops an attribute that holds "</script": the name loses its tooltip, no more.
        if "</script" not in name:
            expect(page.locator(".nf-file").nth(place)).to_have_attribute("title", name)
    batch_visitor.sees("<script>window.hacked=1</script>")
    assert batch_visitor.evaluate("window.hacked") is None
    assert batch_visitor.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator("[data-testid=stMain] a[href^='javascript']").count() == 0


def test_a_phone_never_scrolls_sideways(batch_visitor: BatchVisitor) -> None:
    batch_visitor.page.set_viewport_size({"width": 390, "height": 844})
    shelf = batch_visitor.cloud.shelf
    shelf.add("n" * 200 + ".zip").failed("job_failed", "w" * 200, restartable=True)
    done = shelf.add("x" * 200 + ".zip", rows=sample_rows(60, HOSTILE))
    done.done()
    edges = "[...document.querySelectorAll('[data-testid=stMain] *')].map(e => e.getBoundingClientRect().right)"
    for batch in shelf.batches.values():
        batch_visitor.open(batch)
        expect(batch_visitor.page.locator(".nf-batch-name")).to_have_text(batch.name)
        assert batch_visitor.evaluate("document.documentElement.scrollWidth") <= 390
    expect(batch_visitor.tiles).to_have_count(40)
    for view in ("Pictures", "Table"):
        batch_visitor.page.get_by_role("radio", name=view).click()
        expect(batch_visitor.page.locator(".nf-file")).to_have_count(40 if view == "Pictures" else 25)
        assert batch_visitor.evaluate(f"Math.max(...{edges})") <= 390
        assert batch_visitor.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(batch_visitor: BatchVisitor, done: FakeBatch, scheme: str) -> None:
    page = batch_visitor.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    batch_visitor.open(done)
    expect(batch_visitor.tiles).to_have_count(40)
    paper = batch_visitor.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert (luminance(paper) < 0.1) is (scheme == "dark")
    for selector in (
        ".drop b", ".hint", ".pick", ".nf-pick-name", ".nf-pick-state", ".nf-pick-meta", ".nf-batch-name", ".nf-facts",
        ".nf-stage b", ".nf-stage span", ".nf-save", ".nf-among", ".nf-tile-best b", ".nf-file", ".nf-tile-why",
        ".nf-tile-why code",
    ):  # fmt: skip
        assert contrast(page, selector) >= 4.5, selector


def test_a_batch_is_chosen_by_keyboard(batch_visitor: BatchVisitor, done: FakeBatch) -> None:
    batch_visitor.cloud.shelf.add("other.zip").ready()
    batch_visitor.open()
    batch_visitor.row("holiday.zip").get_by_role("button").focus()
    batch_visitor.page.keyboard.press("Enter")
    expect(batch_visitor.page.locator(".nf-batch-name")).to_have_text("holiday.zip")
    assert batch_visitor.page.locator("[data-testid=stMain] img:not([alt])").count() == 0


def test_the_page_asks_nobody_but_its_own_servers(batch_visitor: BatchVisitor, done: FakeBatch, tmp_path: Path) -> None:
    batch_visitor.open(done)
    batch_visitor.choose(random_zip(tmp_path / "photos.zip", 1))
    batch_visitor.told("has arrived")
    cloud = batch_visitor.cloud
    own = (batch_visitor.address, batch_visitor.address.replace("http", "ws", 1), "data:", "blob:")
    assert [url for url in batch_visitor.addresses if not url.startswith((*own, cloud.url, cloud.storage.url))] == []
