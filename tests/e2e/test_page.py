"""The page itself: strangers' names, narrow and dark screens, the keyboard, and a server that goes away."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.colours import contrast, luminance
from tests.e2e.harness import page_process
from tests.e2e.visitor import Visitor, payload
from tests.pictures import sample
from tests.servers import free_port, process

pytestmark = pytest.mark.browser


def test_hostile_names_are_only_text(visitor: Visitor) -> None:
    names = ["<img src=x onerror=window.hacked=1>.jpg", "🦜 parrot.jpg", "**bold** $x$ :smile:.jpg", "n" * 180 + ".jpg"]
    visitor.give([payload(name, sample("macaw.jpg")) for name in names])
    expect(visitor.answered).to_have_count(4)
    for name in names:
        expect(visitor.card(name)).to_have_count(1)
        expect(visitor.card(name).locator(".nf-name")).to_have_attribute("title", name)
    assert visitor.evaluate("window.hacked") is None
    assert visitor.evaluate("document.documentElement.scrollWidth") <= 1280


def test_a_hostile_name_in_a_refusal_is_only_text(visitor: Visitor) -> None:
    visitor.press("Try it with samples")
    expect(visitor.answered).to_have_count(9)
    visitor.give([payload("<b onclick=x>tenth.jpg", sample("cat.jpg"))])
    visitor.sees("“<b onclick=x>tenth.jpg” was not taken")


def test_the_page_asks_nobody_but_its_own_server(visitor: Visitor, address: str) -> None:
    visitor.press("Try it with samples")
    expect(visitor.answered).to_have_count(9)
    own = (address, address.replace("http", "ws", 1), "data:", "blob:")
    assert [url for url in visitor.addresses if not url.startswith(own)] == []


def test_a_phone_has_one_column_and_no_sideways_scrolling(visitor: Visitor) -> None:
    visitor.page.set_viewport_size({"width": 390, "height": 844})
    visitor.press("Try it with samples")
    expect(visitor.answered).to_have_count(9)
    edges = "[...document.querySelectorAll('[data-testid=stMain] *')].map(e => e.getBoundingClientRect().right)"
    wide = f"Math.max(...{edges})"
    assert visitor.evaluate(wide) <= 390
    assert visitor.evaluate("document.documentElement.scrollWidth") <= 390
    assert len(columns(visitor)) == 1


def test_a_desk_has_three_columns(visitor: Visitor) -> None:
    visitor.press("Try it with samples")
    expect(visitor.answered).to_have_count(9)
    assert len(columns(visitor)) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(visitor: Visitor, address: str, scheme: str) -> None:
    visitor.page.emulate_media(color_scheme=scheme)
    visitor.open(address)
    visitor.give([payload("cat.jpg", sample("cat.jpg")), payload("note.jpg", b"hello")])
    expect(visitor.answered).to_have_count(1)
    expect(visitor.problems).to_have_count(1)
    dark = luminance(
        visitor.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    )
    assert (dark < 0.1) is (scheme == "dark")
    for selector in (
        ".nf-label",
        ".nf-share",
        ".nf-name",
        ".nf-who",
        ".nf-title p",
        ".nf-problem b",
        ".nf-problem code",
    ):
        assert contrast(visitor.page, selector) >= 4.5, selector


def test_everything_can_be_reached_by_keyboard(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Try it with samples").focus()
    visitor.page.keyboard.press("Enter")
    expect(visitor.answered).to_have_count(9)
    remove = visitor.page.get_by_role("button", name="Remove picture 1", exact=True)
    remove.focus()
    visitor.page.keyboard.press("Enter")
    expect(visitor.cards).to_have_count(8)
    assert visitor.page.locator(".nf-frame img:not([alt])").count() == 0


def test_a_server_that_stops_and_starts_again_answers_what_waited(
    browser: Browser, models_dir: Path, page: Page
) -> None:
    port = free_port()
    with page_process(f"http://127.0.0.1:{port}") as address:
        with process(models_dir, port) as service:
            service.wait_ready()
            visitor = Visitor(page, service).open(address)
            visitor.give([payload("cat.jpg", sample("cat.jpg"))])
            expect(visitor.answered).to_have_count(1)
        visitor.sees("The server is away. Your pictures are kept")
        visitor.give([payload("macaw.jpg", sample("macaw.jpg"))])
        expect(visitor.card("macaw.jpg").locator(".nf-waiting")).to_be_visible()
        expect(visitor.card("cat.jpg").locator(".nf-bars")).to_be_visible()
        with process(models_dir, port) as service:
            service.wait_ready()
            expect(visitor.answered).to_have_count(2)
            assert visitor.best("macaw.jpg") == "macaw"
            expect(page.get_by_text("The server is away")).to_have_count(0)
            again = Visitor(page, service)
            assert again.requests() == 1
            assert service.metric('ninefold_images_total{outcome="ok"') == 1


def test_a_server_that_hangs_is_away_and_holds_nobody(visitor: Visitor) -> None:
    assert visitor.server.process is not None
    visitor.server.process.send_signal(signal.SIGSTOP)
    try:
        visitor.press("Try it with samples")
        expect(visitor.page.locator(".nf-waiting")).to_have_count(9)
        visitor.sees("The server is away. Your pictures are kept")
        visitor.remove("koala.jpg")
        expect(visitor.cards).to_have_count(8)
    finally:
        visitor.server.process.send_signal(signal.SIGCONT)
    expect(visitor.answered).to_have_count(8)
    expect(visitor.page.get_by_text("The server is away")).to_have_count(0)


def columns(visitor: Visitor) -> set[float]:
    """The left edges of the cards."""
    lefts = "map(e => Math.round(e.getBoundingClientRect().left))"
    return set(visitor.evaluate(f"[...document.querySelectorAll('[class*=st-key-card-]')].{lefts}"))
