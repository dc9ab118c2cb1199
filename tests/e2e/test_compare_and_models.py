"""The pages Compare and Models in a browser: what stays in sight, narrow and dark screens, keyboard, address."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.colours import contrast, luminance
from tests.e2e.harness import page_process
from tests.e2e.visitor import payload
from tests.frontend.evaluations import evaluation, variant
from tests.frontend.fake_server import LABELS, FakeServer
from tests.pictures import sample

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=window.hacked=1>.jpg"


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[FakeServer, str]]:
    """A page before a fake server whose int8 answers otherwise."""
    fake = FakeServer()
    fake.said["int8"] = LABELS[3:]
    fake.evaluation = evaluation(
        variant(), variant("int8"), variant("fp32", title="Large", model="large", milliseconds=90, size_bytes=10**8)
    )
    with page_process(fake.url) as url:
        yield fake, url
    fake.close()


@pytest.fixture
def server(running: tuple[FakeServer, str]) -> FakeServer:
    running[0].asked.clear()
    return running[0]


@pytest.fixture
def compare(page: Page, running: tuple[FakeServer, str]) -> Page:
    """The page Compare, just opened."""
    page.goto(f"{running[1]}/compare")
    expect(page.get_by_text("Drop pictures above")).to_be_visible()
    return page


@pytest.fixture
def models(page: Page, running: tuple[FakeServer, str]) -> Page:
    """The page Models with an evaluation."""
    page.goto(f"{running[1]}/models")
    expect(page.locator(".nf-measured tbody tr")).to_have_count(3)
    return page


def give(page: Page, *names: str, **other: bytes) -> None:
    """The cat under these names; other bytes where they are given for a name without its ending."""
    files = [payload(name, other.get(name.partition(".")[0], sample("cat.jpg"))) for name in names]
    page.locator(".st-key-drop input[type=file]").set_input_files(files)


def rows(page: Page) -> Locator:
    return page.locator(".nf-row")


def answered(page: Page, cells: int) -> None:
    expect(page.locator(".nf-row .nf-took")).to_have_count(cells)


def test_answers_come_by_themselves_and_what_differs_is_marked_by_a_sign(compare: Page, server: FakeServer) -> None:
    give(compare, "a.jpg", EVIL)
    answered(compare, 4)
    expect(compare.get_by_text("≠ Answers differ")).to_have_count(2)
    expect(rows(compare).first.get_by_label("differs from the first:")).to_have_text("≠")
    expect(compare.locator(".nf-summary")).to_contain_text("the same answer for 0 of 2 pictures")
    assert len(server.asked) == 6 and server.most_at_once == 1
    assert compare.evaluate("window.hacked") is None


def test_model_and_precision_stay_in_sight_on_a_desk_and_on_a_phone(compare: Page) -> None:
    compare.get_by_role("button", name="Try it with samples").click()
    answered(compare, 18)
    last = rows(compare).last
    last.scroll_into_view_if_needed()
    expect(compare.locator(".nf-column .nf-chip", has_text="int8")).to_be_in_viewport()
    compare.set_viewport_size({"width": 390, "height": 844})
    last.locator(".nf-cell").last.scroll_into_view_if_needed()
    named = last.locator(".nf-cell .nf-by").last
    expect(named).to_be_in_viewport()
    assert (named.bounding_box() or {"height": 0})["height"] > 10
    assert compare.evaluate("document.documentElement.scrollWidth") <= 390


def test_another_variant_is_chosen_by_keyboard_and_a_reload_keeps_it(compare: Page, server: FakeServer) -> None:
    give(compare, "a.jpg")
    answered(compare, 2)
    field = compare.get_by_role("combobox", name=re.compile("Variants"))
    field.focus()
    compare.keyboard.press("Backspace")
    answered(compare, 1)
    assert len(server.asked) == 4
    expect(compare).to_have_url(re.compile("variants="))
    compare.reload()
    expect(compare.get_by_text("Drop pictures above")).to_be_visible()
    give(compare, "a.jpg")
    answered(compare, 1)
    assert {asked.query["precision"] for asked in server.asked} == {"fp32", "int8"} and len(server.asked) == 6


def test_the_downloads_hold_answers_and_times(compare: Page) -> None:
    give(compare, "=1.jpg")
    answered(compare, 2)
    with compare.expect_download() as started:
        compare.get_by_role("button", name="CSV").click()
    lines = list(csv.DictReader(io.StringIO(started.value.path().read_text(encoding="utf-8"), newline="")))
    assert [(line["name"], line["precision"], line["differs"]) for line in lines] == [
        ("'=1.jpg", "fp32", "false"),
        ("'=1.jpg", "int8", "true"),
    ]
    with compare.expect_download() as started:
        compare.get_by_role("button", name="JSON").click()
    saved = json.loads(started.value.path().read_text(encoding="utf-8"))
    assert [each["results"][0]["milliseconds"] > 0 for each in saved["variants"]] == [True, True]


def test_the_plot_names_its_circles_and_tells_their_figures(models: Page) -> None:
    plot = models.locator(".st-key-plot svg.marks")
    for name in ("Small fp32", "Small int8", "Large fp32"):
        expect(plot.locator(".role-mark text", has_text=name)).to_be_visible()
    plot.locator(".mark-symbol.role-mark path").last.hover()
    expect(models.locator("#vg-tooltip-element")).to_contain_text("69.2% to 79.2%")


def test_on_a_phone_numbers_stand_for_names_and_the_table_scrolls_within_itself(models: Page) -> None:
    models.set_viewport_size({"width": 390, "height": 844})
    texts = models.locator(".st-key-plot svg .mark-text.role-mark text")
    expect(texts).to_have_text(["3", "1", "2"])
    assert models.evaluate("document.documentElement.scrollWidth") <= 390
    models.get_by_role("region", name="The last evaluation").focus()
    models.keyboard.press("ArrowRight")
    models.wait_for_function("document.querySelector('.nf-wide').scrollLeft > 0")


def test_a_command_is_copied_by_a_press(models: Page) -> None:
    models.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block = models.locator(".st-key-add-missing [data-testid=stCode]")
    block.hover()
    block.get_by_role("button").first.click()
    assert models.evaluate("navigator.clipboard.readText()") == "ninefold models build large"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page: Page, running: tuple[FakeServer, str], scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its words
    page.goto(f"{running[1]}/compare")
    give(page, "a.jpg", "note.jpg", note=b"hello")
    answered(page, 2)
    expect(page.locator(".nf-unanswered")).to_have_count(2)
    for selector in (
        ".nf-heads .nf-by",
        ".nf-heads .nf-took span",
        ".nf-other .nf-mark",
        ".nf-other .nf-label",
        ".nf-verdict",
    ):
        assert contrast(page, selector) >= 4.5, selector
    page.get_by_role("link", name="Models").click()
    expect(page.locator(".nf-measured")).to_be_visible()
    for selector in (
        ".nf-models th div",
        ".nf-models td span",
        ".nf-lacks",
        ".nf-default",
        ".nf-measured td span",
        ".nf-measured thead th",
    ):
        assert contrast(page, selector) >= 4.5, selector
    name = page.locator(".st-key-plot svg .mark-text.role-mark text").first
    assert (luminance(name.evaluate("text => getComputedStyle(text).fill")) > 0.5) is (scheme == "dark")
