"""Retakes the pictures of the page in docs/images: python -m tests.e2e.screenshots (needs models/ and a Chromium)."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from bench.journey import application
from bench.zips import make_zip
from scripts.browser import find_browser
from tests.e2e.harness import ARGUMENTS, page_process
from tests.servers import ROOT, process

SHOTS = (
    # file, width, height (None: all of the page), colour scheme
    ("page.png", 1280, None, "light"),
    ("page-dark.png", 1280, None, "dark"),
    ("page-phone.png", 390, 844, "light"),
)
WIDTH = 900
CROPS = 40
"""Of each sample, so that a batch has something to look around in."""


def main() -> None:
    """Nine samples, answered by the real server, once for each shot."""
    folder = ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with process(ROOT / "models") as server, page_process(server.url) as address, sync_playwright() as playwright:
        server.wait_ready()
        browser = playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)
        for name, width, height, scheme in SHOTS:
            save(shoot(browser, address, width, height, scheme), folder / name)
    save(shoot_batch(), folder / "batch.png")


def shoot(browser: Browser, address: str, width: int, height: int | None, scheme: str) -> Image.Image:
    """The page with nine answers."""
    context = browser.new_context(viewport={"width": width, "height": height or 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Try it with samples").click()
    expect(page.locator(".nf-bars")).to_have_count(9, timeout=30_000)
    if height is None:
        whole = page.locator("[data-testid=stMainBlockContainer]").bounding_box()
        assert whole is not None
        page.set_viewport_size({"width": width, "height": round(whole["height"])})
    page.mouse.move(2, 300)
    page.evaluate("document.activeElement.blur()")
    if height is not None:
        page.locator("[class*=st-key-card-]").first.evaluate("card => card.scrollIntoView({block: 'end'})")
    page.wait_for_function("Promise.all([...document.images].map(image => image.decode()))")
    shot = page.screenshot(animations="disabled")
    context.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def shoot_batch() -> Image.Image:
    """The batch page with a finished batch of crops of the samples, through all that `make run` starts."""
    with application() as (api, address, _), sync_playwright() as playwright:
        send(api)
        browser = playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 1500}, color_scheme="light")
        page.goto(f"{address}/batch")
        page.locator("[class*='st-key-pick-'] button").first.click()
        page.locator(".nf-tile").first.wait_for(timeout=60_000)
        page.wait_for_timeout(2000)
        page.wait_for_function("Promise.all([...document.images].filter(i => i.complete).map(i => i.decode()))")
        return Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")


def send(api: str) -> None:
    """One zip, by the command line."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "holiday.zip"
        make_zip(archive, ROOT / "frontend" / "samples", images=9 * CROPS, megabytes=30)
        command = [sys.executable, "-m", "cli.main", "batch", str(archive), "--server", api]
        subprocess.run([*command, "-o", str(Path(scratch) / "results.json")], cwd=ROOT, check=True, timeout=600)


def save(image: Image.Image, path: Path) -> None:
    """At most WIDTH wide and with 256 colours: photographs in full colour make a PNG several times as large."""
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    palette = image.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    image.quantize(palette=palette).save(path, optimize=True)
    sys.stdout.write(f"{path} {image.width}×{image.height} {path.stat().st_size / 1e3:.0f} KB\n")


if __name__ == "__main__":
    main()
