"""A visitor of the site, who has the password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect

from tests.compose.site import PASSWORD, Site
from tests.e2e.visitor import Visitor
from tests.servers import Service


class SiteVisitor(Visitor):
    """Remembers what the browser sent: addresses and headers."""

    def __init__(self, page: Page, site: Site) -> None:
        super().__init__(page, Service(site.url))
        self.sent: list[str] = []
        page.on("request", lambda request: self.sent.append(f"{request.url} {request.all_headers()}"))


@contextmanager
def visit(browser: Browser, site: Site, path: str) -> Iterator[SiteVisitor]:
    """Signed in, at this page; the certificate is the proxy's own."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
    visitor = SiteVisitor(context.new_page(), site)
    visitor.page.goto(f"{site.url}{path}")
    sign_in(visitor.page)
    yield visitor
    context.close()


def sign_in(page: Page) -> None:
    """Waits until it is asked for the password, and gives it."""
    word = page.locator("input[type=password]")
    expect(word).to_be_visible(timeout=30_000)
    word.fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(word).to_have_count(0, timeout=30_000)
