"""The real server, the real page and a real browser; each test is a visitor of its own."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scripts.browser import find_browser
from tests.e2e.batch_visitor import BatchVisitor
from tests.e2e.harness import ARGUMENTS, page_process
from tests.e2e.visitor import Visitor
from tests.frontend.fake_batch_server import FakeBatchServer
from tests.servers import Service, process

SECONDS = 30.0  # two browsers share the processors with two test processes
expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = find_browser()
        if chromium is None:
            pytest.skip("no Chromium: install one, or name it in NINEFOLD_CHROMIUM")
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def server(models_dir: Path) -> Iterator[Service]:
    with process(models_dir) as service:
        service.wait_ready()
        yield service


@pytest.fixture(scope="session")
def address(server: Service) -> Iterator[str]:
    with page_process(server.url) as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True, locale="en-GB")
    context.set_default_timeout(SECONDS * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture
def visitor(page: Page, address: str, server: Service) -> Visitor:
    """Someone who has just opened the page."""
    return Visitor(page, server).open(address)


@pytest.fixture(scope="session")
def batch_address() -> Iterator[tuple[FakeBatchServer, str]]:
    """A page before a fake cloud, for all that needs no classifier."""
    cloud = FakeBatchServer()
    with page_process(cloud.url) as url:
        yield cloud, url
    cloud.close()


@pytest.fixture
def cloud(batch_address: tuple[FakeBatchServer, str]) -> FakeBatchServer:
    """The fake cloud, as new."""
    batch_address[0].reset()
    return batch_address[0]


@pytest.fixture
def batch_visitor(page: Page, cloud: FakeBatchServer, batch_address: tuple[FakeBatchServer, str]) -> BatchVisitor:
    """Someone who has just opened the batch page."""
    return BatchVisitor(page, cloud, batch_address[1]).open()


@pytest.fixture(scope="session")
def photographs(samples: Path) -> list[tuple[Path, str]]:
    """(file, true label) of nine photographs, spread over the whole folder."""
    with (samples / "labels.csv").open(encoding="utf-8", newline="") as table:
        labelled = {row["file"]: row["label"] for row in csv.DictReader(table)}
    names = sorted(labelled)
    return [(samples / name, labelled[name]) for name in names[:: len(names) // 9][:9]]
