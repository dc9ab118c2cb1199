"""/v1/live over real sockets: what is answered, what is dropped, who is refused, and that nobody waits for anybody."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import re
import signal
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.server import ServerProtocol
from websockets.sync.client import ClientConnection

from backend.access import keys as ring_module
from backend.live import protocol
from backend.live.ending import Ended, slow_reader, too_often
from backend.live.limits import LiveLimits
from backend.live.looking import Looks
from backend.live.pace import Flood
from backend.live.session import Session
from backend.live.shared import SharedDetector, SharedFilter, Trackers
from backend.metrics import Metrics
from backend.predictor import Predictor
from backend.settings import Settings
from contract.keys import new_key, new_keys
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.detectors import Mode
from inference.openvino_classifier import OpenVinoClassifier
from inference.scheduler import Priority
from tests import pictures
from tests.cameras import answer, end_of, opened, refusal, wait_for
from tests.servers import Service, process, serve

KOALA, ESPRESSO = pictures.sample("koala.jpg"), pictures.sample("espresso.jpg")
PAGE = "https://page.example"


class Held:
    """A classifier in front of a real one: it waits for its gate, and notes the mean colour of what it is given."""

    max_batch = 1
    memory_bytes = 1_000_000

    def __init__(self, real: Callable[[Any], Any]) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.seen: list[list[int]] = []
        self._real = real

    def __call__(self, pixels: Any) -> Any:
        self.seen.append(pixels.mean(axis=(0, 1, 2)).round().astype(int).tolist())
        assert self.gate.wait(30)
        return self._real(pixels)


class Early:
    """What the server takes its default variant from: an EarlyLoad that has this one."""

    def __init__(self, artefact: Artefact, classifier: Held) -> None:
        self._artefact = artefact
        self._classifier = classifier

    def take(self, variant: Variant) -> tuple[Artefact, Held]:
        assert variant == self._artefact.variant
        return self._artefact, self._classifier


@pytest.fixture(scope="module")
def classifier(efficientnet: Artefact) -> OpenVinoClassifier:
    return OpenVinoClassifier(efficientnet, 1)


def send_until_closed(camera: ClientConnection, message: Any, times: int) -> None:
    """Sends it again and again until that fails, because the server has closed the connection."""
    with suppress(ConnectionClosed):
        for _ in range(times):
            camera.send(message)


def frames(service: Service, outcome: str) -> float:
    return service.metric(f'ninefold_live_frames_total{{outcome="{outcome}"}}')


def ended(service: Service, why: str) -> float:
    return service.metric(f'ninefold_live_ended_total{{why="{why}"}}')


def jpeg(colour: tuple[int, int, int], side: int = 64, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "JPEG", quality=95, comment=comment)
    return file.getvalue()


# -- what is answered --------------------------------------------------------------------------------------------


def test_a_frame_is_answered_as_a_picture_is(server: Service) -> None:
    expected = server.predict(("koala.jpg", KOALA), top_k=3)[0]["predictions"]
    with opened(server, "?mode=classify&top_k=3") as camera:
        camera.send(KOALA)
        got = answer(camera)
        assert set(got) == {"frame", "labels", "latency_ms", "dropped"} and got["latency_ms"] > 0
        assert (got["frame"], got["dropped"], got["labels"]) == (1, 0, expected)
        camera.send(ESPRESSO)
        assert (got := answer(camera))["frame"] == 2 and got["labels"][0]["label"] == "espresso"
        assert server.metric("ninefold_live_sessions") == 1
    wait_for(lambda: server.metric("ninefold_live_sessions") == 0)


def test_another_model_answers_when_it_is_named(server: Service) -> None:
    with opened(server, "?model=resnet18-seeded") as camera:
        camera.send(KOALA)
        expected = server.predict(("koala.jpg", KOALA), model="resnet18-seeded")[0]["predictions"]
        assert answer(camera)["labels"] == expected


def test_a_bad_frame_is_an_answer_and_the_stream_goes_on(server: Service) -> None:
    with opened(server) as camera:
        for data, code in (
            (b"no picture", "unsupported_format"), (b"", "empty"), (KOALA[:5000], "truncated"),
            (KOALA + bytes(2_000_001 - len(KOALA)), "too_many_bytes"),
        ):  # fmt: skip
            before = frames(server, code)
            camera.send(data)
            got = answer(camera)
            assert got["error"]["code"] == code and got["error"]["message"] and "labels" not in got
            wait_for(lambda: frames(server, code) == before + 1)  # noqa: B023  # at once
        camera.send(KOALA)
        assert answer(camera)["frame"] == 5


# -- the newest wins, and the counts add up ------------------------------------------------------------------------


def test_the_newest_frame_wins(models_dir: Path, efficientnet: Artefact, classifier: OpenVinoClassifier) -> None:
    held = Held(classifier)
    with serve(models_dir, threads=1, early=Early(efficientnet, held)) as server, opened(server) as camera:
        before = len(held.seen)
        held.gate.clear()
        camera.send(KOALA)
        wait_for(lambda: len(held.seen) == before + 1)
        for _ in range(3):
            camera.send(KOALA)
        camera.send(ESPRESSO)
        wait_for(lambda: frames(server, "dropped") == 3)
        held.gate.set()
        first, second = answer(camera), answer(camera)
        assert (first["frame"], first["dropped"]) == (1, 0)
        assert (second["frame"], second["dropped"], second["labels"][0]["label"]) == (5, 3, "espresso")
        assert len(held.seen) == before + 2  # what was dropped was not classified


def test_what_was_sent_was_answered_dropped_or_an_error(server: Service) -> None:
    before = {outcome: frames(server, outcome) for outcome in ("ok", "dropped", "unsupported_format")}

    def film(_: int) -> tuple[int, int, int]:
        with opened(server) as camera:
            for number in range(1, 100):
                camera.send(b"no picture" if number % 3 == 0 else KOALA)
            camera.send(KOALA)
            answers = [answer(camera)]
            while answers[-1]["frame"] < 100:
                answers.append(answer(camera))
        numbers = [each["frame"] for each in answers]
        assert numbers == sorted(set(numbers))
        for place, each in enumerate(answers, 1):
            assert place + each["dropped"] == each["frame"]
        errors = sum("error" in each for each in answers)
        assert "labels" in answers[-1]
        return len(answers) - errors, answers[-1]["dropped"], errors

    with ThreadPoolExecutor(3) as cameras:
        films = list(cameras.map(film, range(3)))
    assert all(sum(each) == 100 for each in films) and sum(each[1] for each in films) > 0
    wait_for(lambda: server.metric("ninefold_live_sessions") == 0)
    counted = tuple(frames(server, outcome) - count for outcome, count in before.items())
    assert counted == tuple(sum(each) for each in zip(*films, strict=True))


def test_frames_are_answered_no_more_often_than_the_limit_says(models_dir: Path) -> None:
    with serve(models_dir, threads=2, live_fps=10) as server, opened(server) as camera:
        started = time.monotonic()
        for _ in range(40):
            camera.send(KOALA)
            time.sleep(0.03)
        camera.send(ESPRESSO)
        answers = [answer(camera)]
        while answers[-1]["frame"] < 41:
            answers.append(answer(camera))
        assert 2 <= len(answers) <= 10 * (time.monotonic() - started) + 2
        assert answers[-1]["labels"][0]["label"] == "espresso"  # the last of all is never lost


# -- nobody waits for anybody --------------------------------------------------------------------------------------


@contextmanager
def blind(service: Service) -> Iterator[tuple[ClientConnection, socket.socket]]:
    """A camera that does not read its answers, which are large."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", int(service.url.rsplit(":", 1)[1])))
    query = "?top_k=20"
    with opened(service, query, sock=connection, max_queue=1, ping_interval=None) as camera:
        yield camera, connection


def fill(server: Service, slow: ClientConnection) -> None:
    """Sends a frame after each answer, until none goes out any more."""
    answered = -1.0
    while (now := frames(server, "ok")) != answered:
        answered, deadline = now, time.monotonic() + 3
        slow.send(KOALA)
        while frames(server, "ok") == answered and time.monotonic() < deadline:
            time.sleep(0.005)


def send_until_slow(server: Service, slow: ClientConnection) -> None:
    """Sends until the server has had enough of one who does not read."""
    deadline = time.monotonic() + 30
    while not ended(server, "slow_reader"):
        assert time.monotonic() < deadline
        slow.send(KOALA)


def is_cut_off(connection: socket.socket) -> bool:
    """Whether the other side has ended it altogether; else the ping goes through."""
    try:
        connection.send(b"\x89\x80\0\0\0\0")
    except OSError:
        return True
    return False


def test_one_who_does_not_read_delays_nobody(models_dir: Path) -> None:
    settings = {"threads": 2, "live_fps": 1000, "live_write_seconds": 60}
    with serve(models_dir, **settings) as server, blind(server) as (slow, _), opened(server) as camera:
        fill(server, slow)
        stuck_at = frames(server, "ok")
        for number in range(1, 31):
            camera.send(KOALA)
            assert answer(camera)["frame"] == number
        wait_for(lambda: frames(server, "ok") == stuck_at + 30)  # and none of the other's
        assert server.metric("ninefold_live_sessions") == 2


def test_one_who_does_not_read_is_closed_in_words(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CLOSE_SECONDS", 60.0)
    with serve(models_dir, threads=2, live_fps=1000, live_write_seconds=0.3) as server, blind(server) as (slow, _):
        send_until_slow(server, slow)
        assert server.metric("ninefold_live_sessions") == 0
        assert end_of(slow) == (1008, slow_reader(0.3).reason)
    assert slow_reader(0.3).reason.startswith("slow_reader: An answer was not read for 0.3 s.")


def test_one_who_never_reads_is_cut_off(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CLOSE_SECONDS", 0.3)
    settings = {"threads": 2, "live_fps": 1000, "live_write_seconds": 0.3}
    with serve(models_dir, **settings) as server, blind(server) as (slow, connection):
        send_until_slow(server, slow)
        wait_for(lambda: is_cut_off(connection))


def test_a_flood_is_refused_in_words(models_dir: Path) -> None:
    with serve(models_dir, threads=2, live_fps=5) as server, opened(server) as flooding, opened(server) as camera:
        send_until_closed(flooding, bytes(2000), 100_000)
        assert end_of(flooding) == (1008, too_often(20, 3).reason)
        assert (
            too_often(20, 3).reason == "rate: More than 20 frames a second came for 3 s. Send fewer, or smaller ones."
        )
        camera.send(KOALA)
        assert answer(camera)["frame"] == 1
        wait_for(lambda: ended(server, "rate") == 1)


def test_messages_that_are_no_frames_end_the_connection_in_words(server: Service) -> None:
    with opened(server) as camera:
        camera.send("a text")
        code, reason = end_of(camera)
        assert code == 1003 and reason.startswith("not_binary: ") and "JPEG" in reason
    with opened(server) as camera:
        send_until_closed(camera, bytes(4_000_001), 100)
        code, _ = end_of(camera)
        assert code == 1009
    for piece, why in ((bytes(2000), (1009, "pieces: ")), (b"", (1008, "rate: "))):
        with opened(server) as camera:
            send_until_closed(camera, (piece for _ in range(1_000_000)), 1)
            code, reason = end_of(camera)
            assert (code, reason[: len(why[1])]) == why


@pytest.mark.parametrize("small", [b"\x89\x80", b"\x8a\x80", b"\x82\x80"], ids=["pings", "pongs", "messages"])
def test_what_is_small_is_counted_and_no_read_is_parsed_as_one(
    server: Service, small: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parsed: list[int] = []

    def events_received(connection: ServerProtocol) -> list[Any]:
        events = received(connection)
        parsed.append(len(events))
        return events

    received = ServerProtocol.events_received
    monkeypatch.setattr(ServerProtocol, "events_received", events_received)
    raw = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
    with opened(server, sock=raw, ping_interval=None) as camera:
        raw.sendall((small + bytes(4)) * 40_000)
        code, reason = end_of(camera)
    assert code == 1008 and reason.startswith("rate: "), reason
    assert sum(parsed) < 1000, parsed  # of a quarter of a megabyte
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_pieces_of_a_usual_size_are_not_counted(server: Service) -> None:
    with opened(server) as camera:
        for number in range(1, 31):
            camera.send(KOALA[at : at + 4096] for at in range(0, len(KOALA), 4096))
            assert answer(camera)["frame"] == number


def test_large_frames_are_a_flood_sooner() -> None:
    async def borne(size: int) -> int:
        flood = Flood(5, 1000)
        for number in range(1000):
            try:
                flood.count(size)
            except Ended:
                return number
        return 1000

    large, small = asyncio.run(borne(1000)), asyncio.run(borne(0))
    assert 30 <= large < 45 and 60 <= small < 75


def test_a_camera_that_sends_nothing_is_closed_in_words(models_dir: Path) -> None:
    with serve(models_dir, threads=1, stall_seconds=0.3) as server, opened(server) as camera:
        assert end_of(camera) == (1008, "idle: No frame came for 0.3 s.")


def test_a_camera_that_waits_for_its_answer_is_not_idle() -> None:
    async def test() -> tuple[Ended, Wire]:
        wire, answered = Wire(), asyncio.Event()

        async def look(_: bytes) -> dict[str, Any]:
            await answered.wait()
            return {"labels": []}

        session = asyncio.create_task(Session(wire.socket(), look, LiveLimits(10**6, 30, 0.1, 5)).run())
        wire.incoming.put_nowait({"type": "websocket.receive", "bytes": b"x"})
        await asyncio.sleep(0.5)
        assert not session.done()
        answered.set()
        return await session, wire

    ended, wire = asyncio.run(test())
    assert ended.why == "idle"
    assert [each["type"] for each in wire.sent] == ["websocket.accept", "websocket.send", "websocket.close"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_without_a_lane_says_so(models_dir: Path) -> None:
    with serve(models_dir, threads=1) as server, opened(server) as camera:
        assert server.app
        lanes = server.app.state.predictor.scheduler._lanes
        lanes._take = None  # the thread fails when it asks for the next frame
        camera.send(KOALA)
        answer(camera)
        lanes._threads[0].join(5)
        camera.send(KOALA)
        code, reason = end_of(camera)
        assert code == 1011 and reason.startswith("not_ready: ") and "a worker" in reason
        status, code, message = refusal(server)
        assert (status, code) == (503, "not_ready") and "a worker" in message


def test_memory_stays_flat(models_dir: Path, efficientnet: Artefact, classifier: OpenVinoClassifier) -> None:
    golden: list[Any] = []

    def quick(pixels: Any) -> Any:
        """What it said to the first, which is the golden image."""
        golden.append(classifier(pixels)) if not golden else None
        return golden[0]

    frame = jpeg((200, 20, 20), comment=bytes(40_000))
    with serve(models_dir, threads=1, live_fps=1000, early=Early(efficientnet, Held(quick))) as server:

        def film(count: int) -> None:
            with opened(server) as camera:
                for _ in range(count):
                    camera.send(frame)
                    answer(camera)

        film(30)
        tracemalloc.start()
        try:
            film(30)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(3):
                film(100)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < 1_000_000, grown  # the frames were 12 MB


# -- who is let in -------------------------------------------------------------------------------------------------


def test_there_are_only_so_many_sessions(models_dir: Path) -> None:
    with serve(models_dir, threads=1, live_sessions=2) as server, opened(server), opened(server) as second:
        status, code, message = refusal(server)
        assert (status, code) == (429, "too_many_sessions") and message.startswith("2 live connections are open")
        second.close()
        wait_for(lambda: server.metric("ninefold_live_sessions") == 1)
        with opened(server) as third:
            third.send(KOALA)
            assert answer(third)["frame"] == 1


def test_what_cannot_be_answered_is_refused_before_the_upgrade(
    server: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for query, status, code in (
        ("?model=nothing", 404, "unknown_model"), ("?model=xception", 409, "model_missing"),
        ("?mode=dance", 422, "invalid_parameter"), ("?top_k=0", 422, "invalid_parameter"),
        ("?top_k=21", 422, "invalid_parameter"),
        ("?mode=detect", 409, "model_missing"), ("?mode=detect%2Bclassify", 409, "model_missing"),
        ("?mode=detect+classify", 409, "model_missing"), ("?filter=2", 422, "invalid_parameter"),
    ):  # fmt: skip
        assert refusal(server, query)[:2] == (status, code), query
    assert "ninefold models build rtdetr_r18" in refusal(server, "?mode=detect")[2]
    got = server.client.get("/v1/live")
    assert (got.status_code, got.json()["error"]["code"], got.headers["upgrade"]) == (
        426, "upgrade_required", "websocket",
    )  # fmt: skip
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_only_named_pages_scripts_may_open_one(models_dir: Path) -> None:
    with serve(models_dir, threads=1, page_origins=f"http://127.0.0.1:8501, {PAGE}") as server:
        with opened(server, origin=PAGE) as camera:
            assert camera.response and camera.response.headers["x-request-id"]
        for origin in ("https://other.example", f"{PAGE}.evil.example", "null", server.url):
            assert refusal(server, origin=origin)[:2] == (403, "origin_not_allowed")


def test_keys_tokens_and_revocation(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "LOOK_SECONDS", 0.0)
    (key, sent), (other, other_sent) = new_key("the page"), new_key("another")
    file = tmp_path / "keys.json"
    both = replace(new_keys(), keys=(key, other))
    file.write_bytes(both.encode())
    with serve(models_dir, threads=1, keys_file=file) as server:
        bearer = {"Authorization": f"Bearer {sent}"}
        had = {
            purpose: server.client.post("/v1/tokens", json=wanted, headers=bearer).json()["token"]
            for purpose, wanted in (("live", {"purpose": "live"}), ("upload", {"purpose": "upload"}))
        }
        assert refusal(server)[:2] == (401, "unauthorized")
        for token in ("x", had["upload"], sent):
            assert refusal(server, f"?token={token}")[:2] == (401, "unauthorized")
        asked = server.client.get(f"/v1/live?token={had['live']}")
        assert asked.status_code == 426  # a page may ask why, with the very same address
        with (
            opened(server, f"?token={had['live']}") as camera,
            opened(server, additional_headers={"Authorization": f"Bearer {other_sent}"}) as theirs,
        ):
            for each in (camera, theirs):
                each.send(KOALA)
                assert answer(each)["frame"] == 1
            file.write_bytes(replace(both, keys=(other,)).encode())
            camera.send(KOALA)
            code, reason = end_of(camera)
            assert code == 1008 and reason.startswith("unauthorized: ")
            theirs.send(KOALA)
            assert answer(theirs)["frame"] == 2


def test_a_key_may_hold_half_of_the_sessions(models_dir: Path, tmp_path: Path) -> None:
    (key, sent), (other, other_sent) = new_key("the page"), new_key("another")
    file = tmp_path / "keys.json"
    file.write_bytes(replace(new_keys(), keys=(key, other)).encode())
    first, second = ({"Authorization": f"Bearer {each}"} for each in (sent, other_sent))
    with serve(models_dir, threads=1, live_sessions=3, keys_file=file) as server:
        with opened(server, additional_headers=first):
            status, code, message = refusal(server, additional_headers=first)
            assert (status, code) == (429, "too_many_sessions")
            assert message.startswith("1 live connections of this key are open")
            with opened(server, additional_headers=second) as theirs:
                theirs.send(KOALA)
                assert answer(theirs)["frame"] == 1

        def lets_in() -> bool:
            return server.client.get("/v1/live", headers=first).status_code == 426

        wait_for(lets_in)


@pytest.mark.parametrize("drain", ["0", "2"])
def test_a_server_that_stops_closes_live_connections_in_words(models_dir: Path, drain: str) -> None:
    with process(models_dir, NINEFOLD_DRAIN_SECONDS=drain) as server:
        server.wait_ready()
        with opened(server) as camera:
            camera.send(KOALA)
            assert answer(camera)["frame"] == 1
            assert server.process
            server.process.send_signal(signal.SIGTERM)
            code, reason = end_of(camera)
            assert code == 1012 and reason.startswith("draining: ") and "Connect again" in reason
        if drain != "0":
            assert refusal(server)[:2] == (503, "draining")
        assert server.process.wait(20) in (0, -signal.SIGTERM)
        log = [json.loads(line) for line in server.stop().splitlines()]
        closed = next(line for line in log if line["event"] == "live ended")
        assert (closed["why"], closed["frames"]) == ("draining", {"ok": 1}) and re.fullmatch(
            "[0-9a-f]{32}", closed["request_id"]
        )
        opening = next(line for line in log if line.get("status") == 101)
        assert (opening["path"], opening["request_id"]) == ("/v1/live", closed["request_id"])


# -- priorities ----------------------------------------------------------------------------------------------------


class Wire:
    """The socket of a session without a network: what is put into `incoming` comes, `sent` is what went."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[Any] = []
        self.incoming.put_nowait({"type": "websocket.connect"})

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def socket(self) -> WebSocket:
        scope = {"type": "websocket", "path": "/v1/live", "query_string": b"", "headers": []}
        return WebSocket(scope, self.incoming.get, self.send)


def looks_of(predictor: Predictor, store: ArtefactStore) -> Looks:
    return Looks(predictor, SharedDetector(predictor, store, None), SharedFilter("CPU"), Trackers())


def test_live_frames_go_after_people_and_before_zips(store: ArtefactStore, efficientnet: Artefact) -> None:
    red, green, blue, grey = (jpeg(colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250), (128, 128, 128)))
    held = Held(lambda _: np.zeros((1, 1000), np.float32))

    async def test() -> None:
        settings = Settings(models_dir=store.root, threads=1)
        predictor = Predictor(settings, store, Metrics(), Early(efficientnet, held))  # type: ignore[arg-type]
        variant, wire = efficientnet.variant, Wire()

        async def ask(data: bytes, priority: Priority) -> None:
            with predictor.scheduler.reserve(1, priority):
                await predictor.logits(variant, lambda: data, priority)

        held.gate.clear()
        asked = [asyncio.create_task(ask(grey, Priority.BULK))]
        while not held.seen:
            await asyncio.sleep(0.01)
        look = await looks_of(predictor, store).make(Mode.CLASSIFY, False, variant, 1)
        session = asyncio.create_task(Session(wire.socket(), look, LiveLimits(10**6, 30, 30, 5)).run())
        asked.append(asyncio.create_task(ask(blue, Priority.BULK)))
        wire.incoming.put_nowait({"type": "websocket.receive", "bytes": green})
        while not predictor.scheduler.waiting(Priority.LIVE):
            await asyncio.sleep(0.01)
        asked.append(asyncio.create_task(ask(red, Priority.INTERACTIVE)))
        for _ in range(50):
            await asyncio.sleep(0)
        held.gate.set()
        await asyncio.gather(*asked)
        wire.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        assert (await session).why == "gone"
        await predictor.close()

    asyncio.run(test())
    assert [max(range(3), key=colour.__getitem__) for colour in held.seen[1:]] == [0, 1, 2], held.seen


def test_pings_of_one_who_does_not_read_are_not_hoarded(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unread: list[int] = []

    def handle_ping(connection: protocol.LiveProtocol) -> None:
        handled(connection)
        unread.append(connection.transport.get_write_buffer_size())

    handled = protocol.LiveProtocol.handle_ping
    monkeypatch.setattr(protocol.LiveProtocol, "handle_ping", handle_ping)
    monkeypatch.setattr(protocol, "_MOST_SMALL", 10_000)
    ping = b"\x89\xfd\0\0\0\0" + bytes(125)
    with serve(models_dir, threads=1, live_fps=1000, live_write_seconds=60) as server, blind(server) as (slow, raw):
        fill(server, slow)
        for _ in range(50):
            raw.sendall(ping * 100)
        wait_for(lambda: len(unread) == 5000)
    assert max(unread) < 200_000, max(unread)  # the pongs were 635,000 bytes


def test_reasons_fit_into_a_close_frame() -> None:
    assert len(Ended(1011, "x", "ö" * 200).reason.encode()) <= 123
