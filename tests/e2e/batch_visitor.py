"""What a person does at the batch page and sees there."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.frontend.fake_batch_server import FakeBatchServer
from tests.frontend.fake_batches import FakeBatch


class BatchVisitor:
    """One person at the batch page, and the fake cloud behind it. Every wait is bounded by Playwright's time-outs."""

    def __init__(self, page: Page, cloud: FakeBatchServer, address: str) -> None:
        self.page = page
        self.cloud = cloud
        self.address = address
        self.addresses: list[str] = []
        page.on("request", lambda request: self.addresses.append(request.url))

    def open(self, batch: FakeBatch | None = None) -> BatchVisitor:
        """Goes there, to one batch if it is named."""
        self.page.goto(f"{self.address}/batch{f'?batch={batch.id}' if batch else ''}")
        return self.arrive()

    def arrive(self) -> BatchVisitor:
        """Waits until the upload is there."""
        expect(self.page.locator("input[type=file]")).to_be_attached(timeout=30_000)
        expect(self.page.locator(".hint")).to_contain_text("up to")
        return self

    def reload(self) -> BatchVisitor:
        self.page.reload()
        return self.arrive()

    def choose(self, file: Path) -> None:
        """Picks a file at the drop zone."""
        self.page.locator("input[type=file]").set_input_files(file)

    def press(self, label: str) -> None:
        self.page.get_by_role("button", name=label, exact=True).click()

    def sees(self, words: str | re.Pattern[str]) -> None:
        expect(self.page.get_by_text(words).first).to_be_visible()

    def row(self, name: str) -> Locator:
        """A batch's row in the list."""
        return self.page.locator("[class*='st-key-pick-']").filter(has=self.page.get_by_text(name, exact=True))

    def show(self, name: str) -> None:
        """Chooses a batch in the list."""
        self.row(name).get_by_role("button").click()
        expect(self.page.locator(".nf-batch-name")).to_have_text(name)

    def stage(self, kind: str) -> Locator:
        """The stages that are past, now, next or bad."""
        return self.page.locator(f".nf-stage.nf-{kind} b")

    @property
    def tiles(self) -> Locator:
        return self.page.locator(".nf-tile")

    @property
    def among(self) -> Locator:
        return self.page.locator(".nf-among")

    def told(self, words: str | re.Pattern[str], seconds: float = 30) -> None:
        """What the upload says."""
        expect(self.page.locator(".words")).to_contain_text(words, timeout=seconds * 1000)

    @property
    def remembered(self) -> list[dict[str, Any]]:
        """The unfinished uploads that the browser remembers."""
        kept = "Object.entries(localStorage).filter(([key]) => key.startsWith('ninefold'))"
        found: list[dict[str, Any]] = self.page.evaluate(f"{kept}.map(([, value]) => JSON.parse(value))")
        return found

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)


def random_zip(path: Path, megabytes: float) -> Path:
    """A real zip whose bytes do not repeat."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("noise.jpg", os.urandom(int(megabytes * 1e6)))
    return path
