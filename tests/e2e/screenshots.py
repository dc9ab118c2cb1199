"""Retakes the pictures of the pages in docs/images.

    python -m tests.e2e.screenshots                 all of them
    python -m tests.e2e.screenshots live.png        those that are named

It needs models/ and a Chromium; models.png also NINEFOLD_SAMPLES, for what it shows is measured. The camera's pictures
are the samples of the page; what finds the things on them is the tests' fake detector, and the page says so.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from bench.journey import application
from bench.zips import make_zip
from inference.artefacts import ArtefactStore
from inference.boxes import Detection
from scripts.browser import find_browser
from tests.detectors import FAKE_DETECTOR, fake_detector
from tests.e2e.harness import ARGUMENTS, CAMERA, QUIET, page_process
from tests.e2e.live_visitor import SIZE, LiveVisitor, film
from tests.servers import ROOT, free_port, process

FOLDER = ROOT / "docs" / "images"
SAMPLES = ROOT / "frontend" / "samples"
WIDTH = 900
CROPS = 40
"""Of each sample, so that a batch has something to look around in."""
LEMURS = [
    Detection((0.335, 0.295, 0.69, 0.955), "lemur", 0, 0.97),
    Detection((0.005, 0.185, 0.4, 0.64), "lemur", 0, 0.93),
]
PATIENCE = 60_000
NAME_OF_THE_FILM = """Object.defineProperty(MediaDeviceInfo.prototype, "label", { get: () => "Camera of the desk" })"""


@dataclass(frozen=True)
class Studio:
    """A server that answers, the pages before it, and browsers to look at them."""

    playwright: Playwright
    scratch: Path
    address: str

    @property
    def models(self) -> ArtefactStore:
        """What the server offers; an artefact that is put there is seen at once."""
        return ArtefactStore(self.scratch / "models")

    @contextmanager
    def page(
        self, *arguments: str, width: int = 1280, height: int = 1000, scheme: str = "light", camera: bool = True
    ) -> Iterator[Page]:
        """A page of a Chromium of its own, with these arguments; `camera`: it may use one."""
        browser = start(self.playwright, *(arguments or ARGUMENTS))
        size, may = {"width": width, "height": height}, ["camera"] if camera else []
        context = browser.new_context(viewport=size, color_scheme=scheme, permissions=may, locale="en-GB")  # type: ignore[arg-type]
        context.add_init_script(NAME_OF_THE_FILM)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def start(playwright: Playwright, *arguments: str) -> Browser:
    """A Chromium."""
    return playwright.chromium.launch(executable_path=find_browser(), args=list(arguments))


@contextmanager
def studio(scratch: Path, **more: str) -> Iterator[Studio]:
    """One with the models that are there, an evaluation where `evaluate` puts one, and these settings."""
    (scratch / "models" / FAKE_DETECTOR).mkdir(parents=True)
    for folder in (ROOT / "models").iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            (scratch / "models" / folder.name).symlink_to(folder)
    port = free_port()
    with page_process(f"http://127.0.0.1:{port}") as address, sync_playwright() as playwright:
        settings = {"NINEFOLD_PAGE_ORIGINS": address, "NINEFOLD_EVALUATION": str(scratch / "evaluation.json")}
        with process(scratch / "models", port, **settings, **more) as server:
            server.wait_ready()
            yield Studio(playwright, scratch, address)


def taken(page: Page) -> Image.Image:
    """The page as it is, once its pictures are there."""
    page.mouse.move(2, 300)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_function("Promise.all([...document.images].filter(i => i.complete).map(i => i.decode()))")
    return Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")


def whole(page: Page) -> Image.Image:
    """All of the page, however high it is."""
    content = page.locator("[data-testid=stMainBlockContainer]").bounding_box()
    size = page.viewport_size
    assert content is not None and size is not None
    page.set_viewport_size({"width": size["width"], "height": round(content["height"])})
    return taken(page)


# ---- the pictures ------------------------------------------------------------------------------------------------


def nine(studio: Studio, scheme: str = "light") -> Image.Image:
    """Nine samples and their answers."""
    with studio.page(scheme=scheme, height=900) as page:
        answered(page, studio.address)
        return whole(page)


def on_a_phone(studio: Studio) -> Image.Image:
    """The first of them, on a narrow screen."""
    with studio.page(width=390, height=844) as page:
        answered(page, studio.address)
        page.locator("[class*=st-key-card-]").first.evaluate("card => card.scrollIntoView({block: 'end'})")
        return taken(page)


def answered(page: Page, address: str) -> None:
    """Asks for the samples."""
    page.goto(address)
    page.get_by_role("button", name="Try it with samples").click()
    expect(page.locator(".nf-bars")).to_have_count(9)


def live(studio: Studio) -> Image.Image:
    """A cup before the camera."""
    with studio.page(*CAMERA, *QUIET, shown(studio, "espresso.jpg")) as page:
        visitor = LiveVisitor(page, studio.address).open().start()
        expect(visitor.labels.first).to_have_text("espresso")
        page.wait_for_timeout(3000)  # its figures are means over two seconds
        return whole(page)


def live_boxes(studio: Studio) -> Image.Image:
    """Two animals, each with its box."""
    detector = fake_detector(studio.models, LEMURS, ["lemur"])
    with studio.page(*CAMERA, *QUIET, shown(studio, "lemur.jpg")) as page:
        visitor = LiveVisitor(page, studio.address).open()
        visitor.choose("detect+classify")
        visitor.start()
        expect(visitor.labels).to_have_count(2)
        expect(page.locator(".by")).to_contain_text(detector.card.model)
        page.wait_for_timeout(3000)
        return whole(page)


def live_refused(studio: Studio) -> Image.Image:
    """What the page says when the camera may not be used."""
    with studio.page(*QUIET, "--use-fake-device-for-media-stream", camera=False) as page:
        visitor = LiveVisitor(page, studio.address).open()
        visitor.button("Start").click()
        visitor.told("This page may not use the camera.")
        return whole(page)


def compare(studio: Studio) -> Image.Image:
    """Samples through two variants, side by side."""
    with studio.page(height=1300) as page:
        page.goto(f"{studio.address}/compare")
        page.get_by_role("button", name="Try it with samples").click()
        expect(page.locator(".nf-row .nf-took")).to_have_count(18)
        return taken(page)


def models(studio: Studio) -> Image.Image:
    """What is there, and what an evaluation measured."""
    evaluate(studio.scratch)
    with studio.page() as page:
        page.goto(f"{studio.address}/models")
        expect(page.locator(".nf-measured tbody tr").first).to_be_visible()
        expect(page.locator(".st-key-plot svg .mark-text.role-mark text").first).to_be_visible()
        return whole(page)


def batch() -> Image.Image:
    """The batch page with a finished batch of crops of the samples, through all that `make run` starts."""
    with application() as (api, address, _), sync_playwright() as playwright:
        send(api)
        page = start(playwright, *ARGUMENTS).new_page(viewport={"width": 1280, "height": 1500}, color_scheme="light")
        page.goto(f"{address}/batch")
        page.locator("[class*='st-key-pick-'] button").first.click()
        page.locator(".nf-tile").first.wait_for(timeout=PATIENCE)
        page.wait_for_timeout(2000)
        return taken(page)


PICTURES: dict[str, Callable[[Studio], Image.Image]] = {
    "page.png": nine,
    "page-dark.png": lambda studio: nine(studio, "dark"),
    "page-phone.png": on_a_phone,
    "compare.png": compare,
    "models.png": models,
    "live.png": live,
    "live-refused.png": live_refused,
}
BOXES = {"live-boxes.png": live_boxes}
"""Taken beside a fake detector."""
BATCH = "batch.png"


# ---- what they are taken of ----------------------------------------------------------------------------------------


def shown(studio: Studio, name: str) -> str:
    """The argument by which a Chromium's camera sees this sample."""
    picture = ImageOps.fit(Image.open(SAMPLES / name).convert("RGB"), SIZE, Image.Resampling.LANCZOS)
    return f"--use-file-for-fake-video-capture={film(studio.scratch / f'{name}.mjpeg', [picture])}"


def evaluate(target: Path) -> None:
    """Measures the models on labelled photographs."""
    data = os.environ.get("NINEFOLD_SAMPLES") or sys.exit("screenshots: models.png needs NINEFOLD_SAMPLES")
    command = [sys.executable, "-m", "cli.main", "evaluate", "--data", data, "--models", "all"]
    subprocess.run([*command, "--output", str(target)], cwd=ROOT, check=True, timeout=1800)


def send(api: str) -> None:
    """One zip, by the command line."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "holiday.zip"
        make_zip(archive, SAMPLES, images=9 * CROPS, megabytes=30)
        command = [sys.executable, "-m", "cli.main", "batch", str(archive), "--server", api]
        subprocess.run([*command, "-o", str(Path(scratch) / "results.json")], cwd=ROOT, check=True, timeout=600)


def save(image: Image.Image, path: Path) -> None:
    """At most WIDTH wide and with 256 colours: photographs in full colour make a PNG several times as large."""
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    palette = image.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    image.quantize(palette=palette).save(path, optimize=True)
    sys.stdout.write(f"{path} {image.width}×{image.height} {path.stat().st_size / 1e3:.0f} KB\n")


def main() -> None:
    """Takes those that are named, or all."""
    known = [*PICTURES, *BOXES, BATCH]
    wanted = sys.argv[1:] or known
    if unknown := sorted(set(wanted) - set(known)):
        sys.exit(f"screenshots: there is no {unknown[0]}; there are {', '.join(known)}")
    expect.set_options(timeout=PATIENCE)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for pictures, settings in ((PICTURES, {}), (BOXES, {"NINEFOLD_DETECTOR": FAKE_DETECTOR})):
        asked = {name: take for name, take in pictures.items() if name in wanted}
        if asked:
            with tempfile.TemporaryDirectory() as scratch, studio(Path(scratch), **settings) as here:
                for name, take in asked.items():
                    save(take(here), FOLDER / name)
    if BATCH in wanted:
        save(batch(), FOLDER / BATCH)


if __name__ == "__main__":
    main()
