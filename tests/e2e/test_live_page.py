"""The page *Live* in a browser whose camera is a film: what is seen, where, and words where nothing is."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, expect

from scripts.browser import find_browser
from tests.e2e.colours import contrast
from tests.e2e.fake_live import BOXES, FakeLive, good
from tests.e2e.harness import CAMERA, QUIET, page_process
from tests.e2e.live_visitor import SIZE, LiveVisitor, film, fitted
from tests.pictures import encode
from tests.servers import Service, free_port, process

pytestmark = pytest.mark.browser
SECONDS = 30_000
RED, BLUE = (200, 30, 30), (30, 30, 200)
TEAL = (0x4F, 0xD1, 0xC5)
PINK = (0x90, 0xCD, 0xF4)
PLAIN_HTTP = """for (const [of, name, value] of [[navigator, "mediaDevices"], [window, "isSecureContext", false]])
    Object.defineProperty(of, name, { value });"""
Visiting = Callable[..., LiveVisitor]


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
def two_colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that is red on the left and blue on the right."""
    picture = Image.new("RGB", SIZE, RED)
    picture.paste(BLUE, (SIZE[0] // 2, 0, *SIZE))
    return film(tmp_path_factory.mktemp("film") / "two.mjpeg", [picture], 8)


@pytest.fixture(scope="module")
def camera(browser: Browser, two_colours: Path) -> Iterator[Browser]:
    """A browser that lets every page have this camera."""
    with started(browser, *CAMERA, f"--use-file-for-fake-video-capture={two_colours}") as found:
        yield found


@pytest.fixture
def visiting(camera: Browser, fake: FakeLive, address: str) -> Iterator[Visiting]:
    """Opens the page before the fake server, as new."""
    contexts: list[BrowserContext] = []
    fake.reset()

    def visit(browser: Browser = camera, script: str = "", **more: object) -> LiveVisitor:
        contexts.append(context_of(browser, **more))
        page = contexts[-1].new_page()
        page.add_init_script(script)
        return LiveVisitor(page, address).open()

    yield visit
    for context in contexts:
        context.close()


class started:  # noqa: N801  # read as a verb
    """Another Chromium, with other arguments than that of all tests."""

    def __init__(self, browser: Browser, *arguments: str) -> None:
        self._launch = lambda: browser.browser_type.launch(
            executable_path=find_browser(), args=[*QUIET, *arguments], ignore_default_args=["--mute-audio"]
        )

    def __enter__(self) -> Browser:
        self._browser = self._launch()
        return self._browser

    def __exit__(self, *_: object) -> None:
        self._browser.close()


def context_of(browser: Browser, **more: object) -> BrowserContext:
    wanted = {"viewport": {"width": 1280, "height": 1000}, "accept_downloads": True, "locale": "en-GB"}
    context = browser.new_context(**(wanted | more))  # type: ignore[arg-type]
    context.set_default_timeout(SECONDS)
    return context


def until(reached: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def near(colour: tuple[int, int, int], wanted: tuple[int, int, int], by: int = 40) -> bool:
    return all(abs(one - other) <= by for one, other in zip(colour, wanted, strict=True))


# ---- the real server -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(models_dir: Path) -> Iterator[tuple[Service, str]]:
    """The real server, which names the page before it, and that page's address."""
    port = free_port()
    with (
        page_process(f"http://127.0.0.1:{port}") as url,
        process(models_dir, port, NINEFOLD_PAGE_ORIGINS=url) as service,
    ):
        service.wait_ready()
        yield service, url


@pytest.mark.samples
def test_the_right_labels_appear_on_the_moving_picture(
    browser: Browser, real: tuple[Service, str], photographs: list[tuple[Path, str]], tmp_path: Path
) -> None:
    service, url = real
    shown = [(fitted(Image.open(file)), label) for file, label in photographs]
    right = [(picture, label) for picture, label in shown if best(service, picture) == label][:2]
    moving = film(tmp_path / "photographs.mjpeg", [picture for picture, _ in right], 45)
    with started(browser, *CAMERA, f"--use-file-for-fake-video-capture={moving}") as camera:
        visitor = LiveVisitor(context_of(camera).new_page(), url).open().start()
        for _, label in [*right, right[0]]:
            expect(visitor.labels.first).to_have_text(label)
        assert float(visitor.figure("fps")) > 0
        assert re.fullmatch(r"[\d.]+ ms", visitor.figure("latency")) and re.fullmatch(
            r"[\d.]+ ms", visitor.figure("trip")
        )
        dropped, camera_frames = map(int, visitor.figure("dropped").replace(",", "").split(" of "))
        assert 0 <= dropped < camera_frames
        expect(visitor.page.locator(".by")).to_have_text("EfficientNet-Lite0 · fp32")


def best(service: Service, picture: Image.Image) -> str:
    """What the server calls it when it is given as a file."""
    return str(service.predict(("a.jpg", encode(picture, quality=90)))[0]["predictions"][0]["label"])


def test_where_there_is_no_detector_its_modes_are_off_in_the_servers_words(
    camera: Browser, real: tuple[Service, str]
) -> None:
    visitor = LiveVisitor(context_of(camera).new_page(), real[1]).open()
    for mode in ("detect", "detect+classify"):
        expect(visitor.page.locator(f"input[value='{mode}']")).to_be_disabled()
    expect(visitor.page.locator(".why")).to_contain_text("There is no detector on this server")
    expect(visitor.page.locator("input[value='classify']")).to_be_enabled()


# ---- what is seen --------------------------------------------------------------------------------------------------


def test_boxes_lie_where_things_are_and_the_mirror_turns_them_with_the_picture(visiting: Visiting) -> None:
    visitor = visiting()
    visitor.choose("detect+classify")
    visitor.start()
    assert near(visitor.pixel(0.02, 0.02), RED) and near(visitor.pixel(0.98, 0.02), BLUE)
    left, top, right, bottom = BOXES[0]["box"]
    middle = (top + bottom) / 2
    for x in (left, right):
        assert near(visitor.pixel(x, middle), TEAL)
    assert near(visitor.pixel((left + right) / 2, bottom), TEAL)
    assert near(visitor.pixel((left + right) / 2, middle), RED), "nothing is painted over what is inside"
    assert near(visitor.pixel(BOXES[1]["box"][0], 0.7), PINK), "another track has another colour"
    words = plate(visitor, left, right)
    visitor.button("Mirror").click()
    expect(visitor.button("Mirror")).to_have_attribute("aria-pressed", "true")
    until(lambda: near(visitor.pixel(0.02, 0.02), BLUE), "the picture is turned")
    assert near(visitor.pixel(1 - left, middle), TEAL) and near(visitor.pixel(1 - right, middle), TEAL)
    assert not near(visitor.pixel(left, middle), TEAL)
    assert alike(plate(visitor, 1 - right, 1 - left), words), "letters are not turned"


def plate(visitor: LiveVisitor, left: float, right: float) -> list[int]:
    """The brightness of the pixels of the first box's label, row by row, as it is written above the box."""
    found: list[int] = visitor.page.locator(".stage canvas").evaluate(
        """(canvas, [left, right, top]) => {
            const x = Math.round(left * canvas.width), y = Math.round(top * canvas.height) - 24;
            const { data } = canvas.getContext("2d").getImageData(x, y, 80, 20);
            return Array.from({ length: data.length / 4 }, (_, at) => data[4 * at + 1]);
        }""",
        [left, right, BOXES[0]["box"][1]],
    )
    return found


def alike(one: list[int], other: list[int]) -> bool:
    """Whether nearly all letters' pixels are the same: what shines through the plate behind them is another colour."""
    return sum(abs(a - b) < 60 for a, b in zip(one, other, strict=True)) / len(one) > 0.97


def test_frames_go_out_one_at_a_time_and_small_enough(visiting: Visiting, fake: FakeLive) -> None:
    fake.held = True
    visitor = visiting()
    visitor.button("Start").click()
    until(lambda: len(fake.frames) == 1, "the first frame came")
    visitor.page.wait_for_timeout(300)
    assert len(fake.frames) == 1, "it waits for the answer"
    fake.dropped, fake.held = 2, False
    until(lambda: len(fake.frames) > 5, "others follow")
    assert fake.most_unanswered == 1
    frame = Image.open(io.BytesIO(fake.frames[-1]))
    assert (frame.format, frame.size) == ("JPEG", SIZE)
    until(lambda: int(visitor.figure("dropped").split(" of ")[0]) >= 4, "what was dropped here, and there")
    assert fake.opened == [{"mode": "classify", "model": "small", "precision": "fp32"}]


def test_another_mode_another_precision_and_the_filter_open_another_connection(
    visiting: Visiting, fake: FakeLive
) -> None:
    visitor = visiting().start()
    expect(visitor.labels).to_have_text(["cup", "pot"])
    visitor.choose("detect")
    expect(visitor.labels).to_have_text(["cup", "a pot of flowers"])
    visitor.page.locator(".filter input").check()
    until(lambda: fake.opened[-1].get("filter") == "1", "with the filter")
    visitor.page.get_by_text("int8", exact=True).click()
    until(lambda: fake.opened[-1]["precision"] == "int8", "with the other precision")
    assert [each["mode"] for each in fake.opened] == ["classify", "detect", "detect", "detect"]
    expect(visitor.button("Snapshot")).to_be_enabled()
    until(lambda: fake.connected == 1, "the former are closed")
    visitor.button("Stop").click()
    until(lambda: fake.connected == 0, "and this one, too")
    visitor.told("The camera is off.")


def test_a_snapshot_is_the_judged_picture_and_its_labels(visiting: Visiting) -> None:
    visitor = visiting()
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
    assert near(picture.getpixel(edge), TEAL, 60) and near(picture.getpixel((5, 5)), BLUE)


# ---- words ---------------------------------------------------------------------------------------------------------


def test_a_stopping_server_is_connected_to_again(visiting: Visiting, fake: FakeLive) -> None:
    visitor = visiting().start()
    fake.end(1012, "draining: The server is about to stop. Connect again: another one answers.")
    visitor.told("The server is about to stop, and another one will answer. Connecting again in 1 s.")
    visitor.told("Live.")
    fake.shut = (503, "draining", "The server is about to stop: connect again, to another.")
    fake.end(1012)
    visitor.told("The server is about to stop: connect again, to another. Connecting again in 2 s.")
    fake.shut = None
    visitor.told("Live.")
    expect(visitor.labels.first).to_have_text("cup")


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
        (1011, "keepalive ping timeout", "The connection was silent for too long. Connecting again in 1 s."),
        (1001, "", "The connection was lost. Connecting again in 1 s."),
    ],
    ids=lambda value: str(value)[:12],
)
def test_every_end_is_told_in_words(ending: LiveVisitor, fake: FakeLive, code: int, reason: str, words: str) -> None:
    if ending.button("Start").count():
        ending.start()
    until(lambda: fake.connected == 1, "it is open")
    fake.end(code, reason)
    ending.told(words)
    expect(ending.button("Stop" if "again in" in words else "Start")).to_be_visible()


@pytest.fixture(scope="module")
def ending(camera: Browser, fake: FakeLive, address: str) -> Iterator[LiveVisitor]:
    """One visitor to whom all of it happens in turn."""
    fake.reset()
    context = context_of(camera)
    yield LiveVisitor(context.new_page(), address).open()
    context.close()


def test_who_is_not_let_in_reads_why(visiting: Visiting, fake: FakeLive) -> None:
    visitor = visiting()
    fake.shut = (429, "too_many_sessions", "16 live connections are open, and there may be no more.")
    visitor.button("Start").click()
    visitor.told("16 live connections are open, and there may be no more. Connecting again in 1 s.")
    fake.shut = (401, "unauthorized", "This token is over, or was never good here.")
    visitor.told("This token is over")
    expect(visitor.button("Start")).to_be_visible()


def test_what_the_server_refuses_is_off_and_comes_back(visiting: Visiting, fake: FakeLive) -> None:
    words = "There is no detector: `ninefold models build rtdetr_r18` adds one."
    without_marks = words.replace("`", "")
    fake.refused = {
        "detect": (409, "model_missing", words),
        "detect+classify": (409, "model_missing", words),
        "filter": (409, "filter_missing", "There is no filter on this server."),
    }
    visitor = visiting()
    expect(visitor.page.locator("input[value='detect']")).to_be_disabled()
    expect(visitor.page.locator(".filter input")).to_be_disabled()
    expect(visitor.page.locator(".why p")).to_have_text(
        [
            f"Off: Where things are; Where, and what each is. {without_marks}",
            "Off: Filter out noise first. There is no filter on this server.",
        ]
    )
    fake.refused = {}
    expect(visitor.page.locator("input[value='detect']")).to_be_enabled()
    expect(visitor.page.locator(".why p")).to_have_count(0)


def test_a_frame_without_an_answer_is_told_and_the_others_go_on(visiting: Visiting, fake: FakeLive) -> None:
    visitor = visiting().start()
    fake.said = lambda _: {"error": {"code": "truncated", "message": "The picture breaks off."}}
    visitor.told("No answer for this frame: The picture breaks off.")
    fake.said = good
    visitor.told("Live.")


def test_a_hidden_tab_pauses(visiting: Visiting, fake: FakeLive) -> None:
    visitor = visiting().start()
    turn = """hidden => { Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange")); }"""
    visitor.page.evaluate(turn, True)
    until(lambda: fake.connected == 0, "the server's place is free")
    visitor.told("Paused: this tab is not in view.")
    visitor.page.evaluate(turn, False)
    visitor.told("Live.")


def test_another_page_ends_it(visiting: Visiting, fake: FakeLive) -> None:
    visitor = visiting().start()
    visitor.page.get_by_role("link", name="Models").click()
    until(lambda: fake.connected == 0, "the connection is closed")


# ---- no camera -----------------------------------------------------------------------------------------------------


def test_a_refused_permission_is_answered_in_words(browser: Browser, visiting: Visiting) -> None:
    with started(browser, "--use-fake-device-for-media-stream") as asking:
        visitor = visiting(asking, permissions=[])
        visitor.button("Start").click()
        visitor.told("This page may not use the camera. Allow it in the browser")
        expect(visitor.button("Start")).to_be_enabled()


def test_no_camera_at_all_is_answered_in_words(browser: Browser, visiting: Visiting) -> None:
    with started(browser, CAMERA[0], f"{CAMERA[1]}=device-count=0") as blind:
        visitor = visiting(blind)
        visitor.button("Start").click()
        visitor.told("No camera was found. Plug one in")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotReadableError'); }",
            "another program is probably using it",
        ),
        (
            PLAIN_HTTP,
            "only to pages that came over https, or from this machine itself",
        ),
    ],
    ids=["in use", "plain http"],
)
def test_a_camera_that_cannot_be_had_is_answered_in_words(visiting: Visiting, script: str, words: str) -> None:
    visitor = visiting(script=script)
    visitor.button("Start").click()
    visitor.told(words)


def test_cameras_are_front_and_rear_until_their_names_are_known(browser: Browser, visiting: Visiting) -> None:
    with started(browser, "--use-fake-device-for-media-stream=device-count=2") as two:
        visitor = visiting(two)
        options = visitor.page.locator(".pick option")
        expect(options).to_have_text(["Rear camera", "Front camera"])
        visitor.page.context.grant_permissions(["camera"])
        visitor.start()
        expect(options).to_have_text([re.compile("fake_device_0"), re.compile("fake_device_1")])
        visitor.page.get_by_label("Camera").select_option(index=1)
        expect(visitor.button("Snapshot")).to_be_enabled()
        assert visitor.page.locator("video").evaluate("video => video.srcObject.getVideoTracks()[0].label") == (
            options.nth(1).inner_text()
        )


# ---- how it looks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_keyboard_on_a_phone_in_light_and_dark(visiting: Visiting, scheme: str) -> None:
    visitor = visiting(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    visitor.button("Start").focus()
    visitor.page.keyboard.press("Enter")
    expect(visitor.button("Snapshot")).to_be_enabled()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in (".words", ".figures dt", ".modes label span", ".go", ".by", ".seen em"):
        assert contrast(visitor.page, selector) >= 4.5, selector
    visitor.button("Stop").focus()
    visitor.page.keyboard.press("Space")
    visitor.told("The camera is off.")
