"""What a person does at the page and sees there, in words the tests can read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.servers import Service


class Visitor:
    """One person at the page. Every wait is bounded by Playwright's own time-outs."""

    def __init__(self, page: Page, server: Service) -> None:
        self.page = page
        self.server = server
        self.addresses: list[str] = []
        page.on("request", lambda request: self.addresses.append(request.url))

    def open(self, address: str) -> Visitor:
        """Goes there and waits until a model is named."""
        self.page.goto(address)
        expect(self.page.locator(".nf-who")).to_be_visible()
        return self

    @property
    def cards(self) -> Locator:
        return self.page.locator("[class*='st-key-card-']")

    @property
    def answered(self) -> Locator:
        return self.page.locator(".nf-bars")

    @property
    def problems(self) -> Locator:
        return self.page.locator(".nf-problem")

    def card(self, name: str) -> Locator:
        """The card of a picture by its name."""
        return self.cards.filter(has=self.page.get_by_text(name, exact=True))

    def give(self, files: Sequence[Path | FilePayload]) -> None:
        """Picks files at the drop zone."""
        paths = [file for file in files if isinstance(file, Path)]
        payloads = [file for file in files if not isinstance(file, Path)]
        self.page.locator(".st-key-drop input[type=file]").set_input_files(paths or payloads)

    def drop(self, files: Sequence[FilePayload]) -> None:
        """Lets files fall on the drop zone."""
        named = [{"name": file["name"], "bytes": list(file["buffer"])} for file in files]
        carried = self.page.evaluate_handle(
            """files => {
                const carried = new DataTransfer();
                for (const f of files) carried.items.add(new File([new Uint8Array(f.bytes)], f.name));
                return carried;
            }""",
            named,
        )
        self.page.locator(".st-key-drop section").dispatch_event("drop", {"dataTransfer": carried})

    def press(self, label: str) -> None:
        self.page.get_by_role("button", name=label, exact=True).click()

    def snap(self) -> None:
        """Takes a picture once the camera shows something; again if that came to nothing.

        After each picture the page puts another camera in place, and a press on the one that goes is lost.
        """
        cards = self.page.locator("[class*='st-key-card-']")
        before = cards.count()
        for _ in range(3):
            self.page.wait_for_function("document.querySelector('.st-key-camera-box video')?.readyState >= 2")
            self.press("Take Photo")
            with suppress(AssertionError):
                expect(cards).not_to_have_count(before, timeout=10_000)
                return

    def remove(self, name: str) -> None:
        """Presses the remove button of one card."""
        self.card(name).get_by_role("button", name=re.compile("^Remove picture")).click()

    def best(self, name: str) -> str:
        """The first label on a card."""
        return self.card(name).locator(".nf-label").first.inner_text()

    def sees(self, words: str, seconds: float = 30) -> None:
        expect(self.page.get_by_text(words).first).to_be_visible(timeout=seconds * 1000)

    def requests(self) -> int:
        """How often the server has been asked to predict, by anyone."""
        return int(self.server.metric('ninefold_http_requests_total{method="POST",route="/v1/predict"'))

    def download(self, label: str) -> str:
        with self.page.expect_download() as started:
            self.press(label)
        return Path(started.value.path()).read_text(encoding="utf-8")

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)


def payload(name: str, data: bytes) -> FilePayload:
    """A file that exists in the browser only, under any name."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": data}
