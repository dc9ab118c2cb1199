"""The page *Live* in a browser whose camera is a film: what is seen, where, and words where nothing is."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, expect

from inference.artefacts import ArtefactStore
from inference.boxes import Detection
from scripts.browser import find_browser
from tests.detectors import FAKE_DETECTOR, fake_detector
from tests.e2e.colours import contrast
from tests.e2e.fake_live import BOXES, FakeLive, good
from tests.e2e.harness import CAMERA, QUIET, page_process
from tests.e2e.live_visitor import SIZE, LiveVisitor, film, fitted
from tests.pictures import encode
from tests.servers import Service, free_port, process

pytestmark = pytest.mark.browser
DESK = {"width": 1280, "height": 1000}
RED, BLUE = (200, 30, 30), (30, 30, 200)
ORANGE = (0xF6, 0xAD, 0x55)
OF_TRACK = {0: (0x4F, 0xD1, 0xC5), 3: (0x90, 0xCD, 0xF4)}
PLAIN_HTTP = """() => { for (const [of, name] of [[navigator, "mediaDevices"], [window, "isSecureContext"]])
    Object.defineProperty(of, name, { value: undefined, configurable: true }); }"""
NO_STREAM = """name => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", name); }; }"""
AS_IT_WAS = """() => { delete navigator.mediaDevices; delete window.isSecureContext;
    delete navigator.mediaDevices.getUserMedia; }"""
LARGE = """() => { const devices = navigator.mediaDevices, given = devices.getUserMedia.bind(devices);
    devices.getUserMedia = () => given({ video: { width: { exact: 1280 }, height: { exact: 960 } } }); }"""
HELD = """() => { const devices = navigator.mediaDevices, given = devices.getUserMedia.bind(devices);
    window.tracks = [];
    devices.getUserMedia = async all => { const had = await given(all); tracks.push(...had.getTracks()); return had; };
}"""
OFF = "window.tracks.length && window.tracks.every(track => track.readyState === 'ended')"
HURRY = """times => { window.unhurried ??= window.setTimeout;
    window.setTimeout = (what, ms, ...more) => unhurried(what, ms / times, ...more); }"""
LISTEN = """words => { window.hearing?.disconnect(); window.said = [];
    window.hearing = new MutationObserver(() => said.push(words.textContent));
    hearing.observe(words, { childList: true, characterData: true, subtree: true }); }"""
HIDDEN = """hidden => { Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange")); }"""


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeLive]:
    server = FakeLive()
    yield server
    server.close()


@pytest.fixture(scope="module")
def address(fake: FakeLive) -> Iterator[str]:
    with page_process(fake.url) as url:
        yield url


@pytest.fixture(scope="module")
def camera(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera sees red on the left and blue on the right, and can do more than is asked of it."""
    picture = Image.new("RGB", (1280, 960), RED)
    picture.paste(BLUE, (640, 0, 1280, 960))
    two_colours = film(tmp_path_factory.mktemp("film") / "two.mjpeg", [picture], 8)
    with started(browser, *CAMERA, f"--use-file-for-fake-video-capture={two_colours}") as found:
        yield found


@pytest.fixture(scope="module")
def somebody(camera: Browser, fake: FakeLive, address: str) -> Iterator[LiveVisitor]:
    """One visitor for all tests that leave the page as it was: to open it takes the longest of all."""
    with context_of(camera) as context:
        yield LiveVisitor(context.new_page(), address).open()


@pytest.fixture
def visitor(somebody: LiveVisitor, fake: FakeLive) -> LiveVisitor:
    """Somebody whose camera is off, before a server as new."""
    somebody.calm()
    until(lambda: fake.connected == 0, "the former test's connection is closed")
    fake.reset()
    return somebody


@pytest.fixture
def hurried(visitor: LiveVisitor) -> Iterator[LiveVisitor]:
    """The same before a page that waits for nothing as long as it says: its minute is three seconds."""
    visitor.page.evaluate(HURRY, 20)
    visitor.page.locator(".words").evaluate(LISTEN)
    yield visitor
    visitor.page.evaluate(HURRY, 1)


def has_told(hurried: LiveVisitor, words: str) -> None:
    """Waits until the page has said that of itself, if only for a moment."""
    until(lambda: words in hurried.page.evaluate("said"), words)


@contextmanager
def started(browser: Browser, *arguments: str) -> Iterator[Browser]:
    """Another Chromium, with other arguments than that of the other tests."""
    other = browser.browser_type.launch(executable_path=find_browser(), args=[*QUIET, *arguments])
    try:
        yield other
    finally:
        other.close()


@contextmanager
def context_of(browser: Browser, **more: object) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=DESK, accept_downloads=True, locale="en-GB", **more)  # type: ignore[arg-type]
    context.set_default_timeout(30_000)
    try:
        yield context
    finally:
        context.close()


def until(reached: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def near(colour: tuple[int, int, int], wanted: tuple[int, int, int], by: int = 40) -> bool:
    return all(abs(one - other) <= by for one, other in zip(colour, wanted, strict=True))


@pytest.mark.samples
def test_the_right_labels_appear_on_the_moving_picture(
    browser: Browser, models_dir: Path, photographs: list[tuple[Path, str]], tmp_path: Path
) -> None:
    """And, once there is a detector, the boxes that it sees: a fake one, whose boxes are known."""
    port, folder = free_port(), tmp_path / "models"
    (folder / FAKE_DETECTOR).mkdir(parents=True)
    (folder / "efficientnet_lite0").symlink_to(models_dir / "efficientnet_lite0")
    with (
        page_process(f"http://127.0.0.1:{port}") as url,
        process(folder, port, NINEFOLD_PAGE_ORIGINS=url, NINEFOLD_DETECTOR=FAKE_DETECTOR) as service,
    ):
        service.wait_ready()
        shown = [(fitted(Image.open(file)), label) for file, label in photographs]
        right = [(picture, label) for picture, label in shown if best(service, picture) == label][:2]
        moving = film(tmp_path / "photographs.mjpeg", [picture for picture, _ in right], 45)
        with (
            started(browser, *CAMERA, f"--use-file-for-fake-video-capture={moving}") as camera,
            context_of(camera) as context,
        ):
            visitor = LiveVisitor(context.new_page(), url).open().start()
            for _, label in [*right, right[0]]:
                expect(visitor.labels.first).to_have_text(label)
            assert float(visitor.figure("fps")) > 0
            for name in ("latency", "trip"):
                assert re.fullmatch(r"[\d.]+ ms", visitor.figure(name))
            dropped, of_all = map(int, visitor.figure("dropped").replace(",", "").split(" of "))
            assert 0 <= dropped < of_all
            assert visitor.figure("by") == "EfficientNet-Lite0 · fp32"
            for mode in ("detect", "detect+classify"):
                expect(visitor.page.locator(f"input[value='{mode}']")).to_be_disabled()
            expect(visitor.page.locator(".why")).to_contain_text(f"ninefold models build {FAKE_DETECTOR}")
            sees_the_boxes_of_a_detector(visitor, ArtefactStore(folder))


def sees_the_boxes_of_a_detector(visitor: LiveVisitor, store: ArtefactStore) -> None:
    """That is put there while the page is open."""
    thing = Detection((0.25, 0.25, 0.75, 0.75), "thing", 1, 0.9)
    fake_detector(store, [thing], ("nothing", "thing"))
    expect(visitor.page.locator("input[value='detect']")).to_be_enabled()
    visitor.choose("detect")
    expect(visitor.labels).to_have_text(["thing"])
    expect(visitor.page.locator(".by")).to_have_text(FAKE_DETECTOR)
    edges = ((0.25, 0.5), (0.75, 0.5), (0.5, 0.25), (0.5, 0.75))
    assert all(near(visitor.pixel(x, y), ORANGE) for x, y in edges)
    visitor.choose("detect+classify")
    expect(visitor.labels).not_to_have_text(["thing"])
    expect(visitor.labels).to_have_count(1)


def best(service: Service, picture: Image.Image) -> str:
    """What the server calls it when it is given as a file."""
    return str(service.predict(("a.jpg", encode(picture, quality=90)))[0]["predictions"][0]["label"])


# ---- what is seen --------------------------------------------------------------------------------------------------


def test_boxes_lie_where_things_are_and_the_mirror_turns_them_with_the_picture(visitor: LiveVisitor) -> None:
    visitor.choose("detect+classify")
    visitor.start()
    assert near(visitor.pixel(0.02, 0.02), RED) and near(visitor.pixel(0.98, 0.02), BLUE)
    left, top, right, bottom = BOXES[0]["box"]
    middle, first = (top + bottom) / 2, OF_TRACK[0]
    for x, y in ((left, middle), (right, middle), ((left + right) / 2, bottom)):
        assert near(visitor.pixel(x, y), first)
    assert near(visitor.pixel((left + right) / 2, middle), RED), "nothing is painted over what is inside"
    assert near(visitor.pixel(BOXES[1]["box"][0], 0.7), OF_TRACK[3]), "another track has another colour"
    words = plate(visitor, left)
    visitor.button("Mirror").click()
    expect(visitor.button("Mirror")).to_have_attribute("aria-pressed", "true")
    until(lambda: near(visitor.pixel(0.02, 0.02), BLUE), "the picture is turned")
    assert near(visitor.pixel(1 - left, middle), first) and near(visitor.pixel(1 - right, middle), first)
    assert not near(visitor.pixel(left, middle), first)
    assert alike(plate(visitor, 1 - right), words), "letters are not turned"
    assert not alike(plate(visitor, 1 - right), [row[::-1] for row in words]), "or nothing was seen by that"


def plate(visitor: LiveVisitor, left: float) -> list[list[int]]:
    """How green the pixels of the first box's label are, by row, from the left edge of the box and above it."""
    found: list[list[int]] = visitor.page.locator(".stage canvas").evaluate(
        """(canvas, [left, top]) => {
            const x = Math.round(left * canvas.width), y = Math.round(top * canvas.height) - 22;
            const { data } = canvas.getContext("2d").getImageData(x, y, 60, 18);
            const rows = Array.from({ length: 18 }, (_, row) => [...data.slice(240 * row, 240 * (row + 1))]);
            return rows.map(row => row.filter((_, at) => at % 4 === 1));
        }""",
        [left, BOXES[0]["box"][1]],
    )
    return found


def alike(one: list[list[int]], other: list[list[int]]) -> bool:
    """Whether nearly all pixels are: half a pixel of difference in the place is none in the words."""
    pairs = [(a, b) for row, another in zip(one, other, strict=True) for a, b in zip(row, another, strict=True)]
    return sum(abs(a - b) < 70 for a, b in pairs) / len(pairs) > 0.95


def test_frames_go_out_one_at_a_time_and_small_enough(visitor: LiveVisitor, fake: FakeLive) -> None:
    visitor.page.evaluate(LARGE)
    fake.held = True
    visitor.button("Start").click()
    until(lambda: len(fake.frames) == 1, "the first frame came")
    visitor.page.wait_for_timeout(300)
    assert len(fake.frames) == 1, "it waits for the answer"
    fake.dropped, fake.held = 5000, False
    until(lambda: len(fake.frames) > 5, "others follow")
    assert fake.most_unanswered == 1
    assert visitor.page.locator("video").evaluate("video => video.videoWidth") == 1280
    frame = Image.open(io.BytesIO(fake.frames[-1]))
    assert (frame.format, frame.size) == ("JPEG", SIZE)
    visitor.page.evaluate(AS_IT_WAS)
    assert fake.opened == [{"mode": "classify", "model": "small", "precision": "fp32"}]
    expect(visitor.page.locator("dd.dropped")).to_have_text(re.compile(r"^5,\d{3} of 5,\d{3}$"))
    dropped, of_all = (int(part.replace(",", "")) for part in visitor.figure("dropped").split(" of "))
    assert 5000 < dropped < of_all, "what was dropped here, and there"


def test_another_mode_another_precision_and_the_filter_open_another_connection(
    visitor: LiveVisitor, fake: FakeLive
) -> None:
    visitor.start()
    expect(visitor.labels).to_have_text(["cup", "pot"])
    visitor.choose("detect")
    expect(visitor.labels).to_have_text(["cup", "a pot of flowers"])
    visitor.page.locator(".filter input").check()
    until(lambda: fake.opened[-1].get("filter") == "1", "with the filter")
    visitor.page.get_by_text("int8", exact=True).click()
    until(lambda: fake.opened[-1]["precision"] == "int8", "with the other precision")
    visitor.page.get_by_text("fp32", exact=True).first.click()
    until(lambda: fake.opened[-1]["precision"] == "fp32", "with the first again")
    assert [each["mode"] for each in fake.opened] == ["classify", *["detect"] * 4]
    until(lambda: fake.connected == 1, "the former are closed")
    visitor.button("Stop").click()
    until(lambda: fake.connected == 0, "and this one, too")
    visitor.told("The camera is off.")


def test_a_snapshot_is_the_judged_picture_and_its_labels(visitor: LiveVisitor) -> None:
    visitor.choose("detect")
    visitor.start()
    visitor.button("Mirror").click()
    visitor.button("Snapshot").click()
    with visitor.page.expect_download() as coming:
        visitor.page.get_by_role("link", name="Save the picture").click()
    name, picture = coming.value.suggested_filename, Image.open(coming.value.path()).convert("RGB")
    assert re.fullmatch(r"ninefold-live-\d{8}-\d{6}\.jpg", name) and picture.size == SIZE
    with visitor.page.expect_download() as coming:
        visitor.page.get_by_role("link", name="Save the labels").click()
    said = json.loads(Path(coming.value.path()).read_text(encoding="utf-8"))
    assert (said["mode"], said["model"], said["precision"], said["mirrored"]) == ("detect", "small", "fp32", True)
    left, top, right, bottom = BOXES[0]["box"]
    assert said["boxes"][0]["box"] == [1 - right, top, 1 - left, bottom], "as they lie in the saved picture"
    edge = (round((1 - left) * SIZE[0]), round((top + bottom) / 2 * SIZE[1]))
    assert near(picture.getpixel(edge), OF_TRACK[0], 60) and near(picture.getpixel((5, 5)), BLUE)


# ---- words ---------------------------------------------------------------------------------------------------------


def test_a_stopping_server_is_connected_to_again(visitor: LiveVisitor, fake: FakeLive) -> None:
    visitor.start()
    fake.shut = (503, "draining", "The server is about to stop: connect again, to another.")
    fake.end(1012, "draining: The server is about to stop. Connect again: another one answers.")
    visitor.told("The server is about to stop, and another one will answer. Connecting again in 1 s.")
    visitor.told("The server is about to stop: connect again, to another. Connecting again in 2 s.")
    fake.shut = None
    visitor.told("Live.")
    expect(visitor.labels.first).to_have_text("cup")


def test_a_server_that_answers_no_more_is_connected_to_again(hurried: LiveVisitor, fake: FakeLive) -> None:
    """As over a path that is dead: a TCP connection may stand for a quarter of an hour without it."""
    hurried.start()
    opened, fake.held = len(fake.opened), True
    has_told(hurried, "The server has not answered for a minute. Connecting again in 1 s.")
    fake.held = False
    hurried.told("Live.")
    expect(hurried.labels.first).to_have_text("cup")
    until(lambda: fake.connected == 1, "the former is closed")
    assert len(fake.opened) > opened


def test_after_a_night_without_a_network_a_token_that_is_over_does_not_end_it(
    hurried: LiveVisitor, fake: FakeLive
) -> None:
    hurried.start()
    fake.shut = (503, "not_ready", "The server is starting.")
    fake.end(1001)
    has_told(hurried, "The server is starting. Connecting again in 30 s.")
    fake.shut = (401, "unauthorized", "This token is over, or was never good here.")
    has_told(hurried, "This token is over, or was never good here. Connecting again in 30 s.")
    fake.shut = None  # the page brought another
    hurried.told("Live.")
    expect(hurried.labels.first).to_have_text("cup")


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (1008, "rate: More than 120 frames a second came for 3 s. Send fewer.", "fewer frames a second"),
        (1008, "slow_reader: An answer was not read for 5 s.", "did not get through to this browser"),
        (1008, "idle: No frame came for 30 s.", "No frame reached the server"),
        (1008, "unauthorized: The key that this connection was opened by was revoked.", "key of this page was revoked"),
        (1003, "not_binary: Send each frame as one binary message.", "different versions"),
        (1009, "", "larger than it takes"),
        (1011, "artefact_damaged: The model is damaged.", "The server closed the connection: The model is damaged."),
        (1011, "keepalive ping timeout", "The connection was silent for too long. Connecting again"),
        (1001, "", "The connection was lost. Connecting again"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_every_end_is_told_in_words(visitor: LiveVisitor, fake: FakeLive, code: int, reason: str, words: str) -> None:
    visitor.start()
    fake.end(code, reason)
    visitor.told(words)
    expect(visitor.button("Stop" if "again" in words else "Start")).to_be_visible()


def test_who_is_not_let_in_reads_why(visitor: LiveVisitor, fake: FakeLive) -> None:
    fake.shut = (429, "too_many_sessions", "16 live connections are open, and there may be no more.")
    visitor.button("Start").click()
    visitor.told("16 live connections are open, and there may be no more. Connecting again")
    fake.shut = (401, "unauthorized", "This token is over, or was never good here.")
    visitor.told("This token is over, or was never good here. Connecting again")  # the page may bring another
    expect(visitor.button("Start")).to_be_visible(timeout=60_000)
    visitor.told("This token is over")


def test_the_camera_is_off_once_it_is_said_to_be(visitor: LiveVisitor, fake: FakeLive) -> None:
    visitor.page.evaluate(HELD)
    visitor.start()
    assert not visitor.page.evaluate(OFF)
    visitor.button("Stop").click()
    visitor.page.wait_for_function(OFF)
    visitor.start()
    assert not visitor.page.evaluate(OFF)
    fake.end(1008, "rate: More than 120 frames a second came for 3 s. Send fewer.")
    visitor.page.wait_for_function(OFF)
    visitor.page.evaluate(AS_IT_WAS)


def test_a_frame_without_an_answer_is_told_and_the_others_go_on(visitor: LiveVisitor, fake: FakeLive) -> None:
    visitor.start()
    fake.said = lambda _: {"error": {"code": "truncated", "message": "The picture breaks off."}}
    visitor.told("No answer for this frame: The picture breaks off.")
    fake.said = good
    visitor.told("Live.")


def test_a_hidden_tab_pauses(visitor: LiveVisitor, fake: FakeLive) -> None:
    visitor.start()
    visitor.page.evaluate(HIDDEN, True)
    until(lambda: fake.connected == 0, "the server's place is free")
    visitor.told("Paused: this tab is not in view.")
    visitor.page.evaluate(HIDDEN, False)
    visitor.told("Live.")


# ---- no camera -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "name", "words"),
    [
        (NO_STREAM, "NotFoundError", "No camera was found. Plug one in"),
        (NO_STREAM, "NotReadableError", "another program is probably using it"),
        (PLAIN_HTTP, "", "only to pages that came over https, or from this machine itself"),
    ],
    ids=["none", "in use", "plain http"],
)
def test_a_camera_that_cannot_be_had_is_answered_in_words(
    visitor: LiveVisitor, script: str, name: str, words: str
) -> None:
    visitor.page.evaluate(script, name)
    try:
        visitor.button("Start").click()
        visitor.told(words)
        expect(visitor.button("Start")).to_be_enabled()
    finally:
        visitor.page.evaluate(AS_IT_WAS)


def test_a_refused_permission_is_told_and_names_come_with_the_permission(
    browser: Browser, fake: FakeLive, address: str
) -> None:
    fake.reset()
    with (
        started(browser, "--use-fake-device-for-media-stream=device-count=2") as asking,
        context_of(asking, permissions=[]) as context,
    ):
        visitor = LiveVisitor(context.new_page(), address).open()
        options = visitor.page.locator(".pick option")
        expect(options).to_have_text(["Rear camera", "Front camera"])
        visitor.button("Start").click()
        visitor.told("This page may not use the camera. Allow it in the browser")
        context.grant_permissions(["camera"])
        visitor.start()
        expect(options).to_have_text([re.compile("fake_device_0"), re.compile("fake_device_1")])
        visitor.page.locator(".pick select").select_option(index=1)
        expect(visitor.button("Snapshot")).to_be_enabled()
        told = "video => video.srcObject?.getVideoTracks()[0].label"
        assert visitor.page.locator("video").evaluate(told) == options.nth(1).inner_text()


# ---- the page around it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_works_by_keyboard_and_can_be_read_on_a_phone(visitor: LiveVisitor, fake: FakeLive, scheme: str) -> None:
    page = visitor.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    visitor.button("Start").focus()
    page.keyboard.press("Enter")
    expect(visitor.button("Snapshot")).to_be_enabled()
    fake.held = True  # or what is looked at is replaced while it is
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in (".words", ".figures dt", ".modes label span", ".modes b", ".seen em", ".go", ".flip"):
        assert contrast(page, selector) >= 4.5, selector
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(visitor.button("Mirror")).to_have_attribute("aria-pressed", "true")
    page.set_viewport_size(DESK)


def test_what_the_server_refuses_is_off_in_its_words_and_another_page_ends_all(
    camera: Browser, fake: FakeLive, address: str
) -> None:
    fake.reset()
    words = "There is no detector: `ninefold models build rtdetr_r18` adds one."
    fake.refused = dict.fromkeys(("detect", "detect+classify"), (409, "model_missing", words))
    fake.refused["filter"] = (409, "filter_missing", "There is no filter on this server.")
    with context_of(camera) as context:
        visitor = LiveVisitor(context.new_page(), address).open()
        for control in ("input[value='detect']", "input[value='detect+classify']", ".filter input"):
            expect(visitor.page.locator(control)).to_be_disabled()
        expect(visitor.page.locator(".why p")).to_have_text(
            [
                f"Off: Where things are; Where, and what each is. {words.replace('`', '')}",
                "Off: Filter out noise first. There is no filter on this server.",
            ]
        )
        expect(visitor.page.locator(".why code")).to_have_text("ninefold models build rtdetr_r18")
        visitor.page.evaluate(HELD)
        visitor.start()
        visitor.page.get_by_role("link", name="Models").click()
        until(lambda: fake.connected == 0, "the connection is closed")
        visitor.page.wait_for_function(OFF)
