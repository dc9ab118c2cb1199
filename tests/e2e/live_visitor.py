"""What a person does at the page *Live* and sees there; and the films that a browser's fake camera shows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.pictures import encode

SIZE = (640, 480)


def film(path: Path, pictures: Iterable[Image.Image], frames: int = 1) -> Path:
    """An MJPEG of these pictures, each for so many frames: what Chromium plays as a camera, over and over."""
    path.write_bytes(b"".join(encode(picture, quality=90, subsampling=2) * frames for picture in pictures))
    return path


def fitted(picture: Image.Image) -> Image.Image:
    """The picture in the middle of a camera's frame."""
    whole = Image.new("RGB", SIZE, (120, 120, 120))
    shown = picture.convert("RGB")
    shown.thumbnail(SIZE, Image.Resampling.LANCZOS)
    whole.paste(shown, ((SIZE[0] - shown.width) // 2, (SIZE[1] - shown.height) // 2))
    return whole


class LiveVisitor:
    """One person at the page. Every wait is bounded by Playwright's own time-outs."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address

    def open(self) -> LiveVisitor:
        self.page.goto(f"{self.address}/live")
        expect(self.button("Start")).to_be_enabled()
        return self

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def start(self) -> LiveVisitor:
        """Starts, and waits until frames are answered."""
        self.button("Start").click()
        expect(self.button("Snapshot")).to_be_enabled()
        return self

    def calm(self) -> LiveVisitor:
        """Turns the camera off, and all that was chosen back."""
        if self.button("Stop").count():
            self.button("Stop").click()
        self.choose("classify")
        self.page.locator(".filter input").uncheck()
        if self.button("Mirror").get_attribute("aria-pressed") == "true":
            self.button("Mirror").click()
        return self

    def choose(self, mode: str) -> None:
        self.page.locator(f"input[value='{mode}']").check()

    def told(self, words: str | re.Pattern[str]) -> None:
        """What the page says of itself."""
        expect(self.page.locator(".words")).to_contain_text(words)

    @property
    def labels(self) -> Locator:
        return self.page.locator(".seen li span")

    def figure(self, name: str) -> str:
        return self.page.locator(f"dd.{name}").inner_text()

    def pixel(self, x: float, y: float) -> tuple[int, int, int]:
        """The colour of the canvas there, in 0..1 of its sides."""
        found = self.page.locator(".stage canvas").evaluate(
            """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(
                Math.round(x * canvas.width), Math.round(y * canvas.height), 1, 1).data]""",
            [x, y],
        )
        return found[0], found[1], found[2]
