"""The zip by ranges over a network that fails, and an object that is not the one it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from glue_jobs.s3 import AT_ONCE, s3_client
from glue_jobs.source import SourceLost, ZipSource
from tests import servers
from tests.glue_jobs.buckets import UPLOAD, Bucket


class Flaky:
    """Answers any range with `answer`; the first `broken` answers break off. Not there until `start`."""

    def __init__(self, broken: int = 0) -> None:
        self.port = servers.free_port()
        self.answers = 0
        self._broken = broken
        self._server: ThreadingHTTPServer | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        flaky = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with flaky._lock:
                    flaky.answers += 1
                    whole = flaky.answers > flaky._broken
                self.send_response(206)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(bytes(range(100 if whole else 50)))
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def source(self, attempts: int | None = None) -> ZipSource:
        return ZipSource(s3_client(attempts) if attempts else s3_client(), "bucket", "key", "etag")


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flaky]:
    made = Flaky()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "somewhere")
    yield made
    made.stop()


def test_an_outage_is_outlasted_by_as_many_as_ask_at_once(flaky: Flaky) -> None:
    source = flaky.source()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reading = [pool.submit(source.read, 0, 100) for _ in range(AT_ONCE)]
        threading.Timer(2, flaky.start).start()
        assert [future.result(60) for future in reading] == [bytes(range(100))] * AT_ONCE


def test_waits_add_up_to_ten_seconds(flaky: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between attempts are made up, all else is real: whoever is away for ten seconds is waited for."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if sum(waited) >= 10 and flaky._server is None:
            flaky.start()

    monkeypatch.setattr("botocore.endpoint.time.sleep", sleep)
    assert flaky.source().read(0, 100) == bytes(range(100))
    assert sum(waited) >= 10


def test_without_repetition_an_outage_is_the_end(flaky: Flaky) -> None:
    with pytest.raises(EndpointConnectionError):
        flaky.source(attempts=1).read(0, 100)


def test_an_answer_that_breaks_off_is_asked_for_again(flaky: Flaky) -> None:
    flaky._broken = 3
    flaky.start()
    assert flaky.source().read(0, 100) == bytes(range(100))
    assert flaky.answers == 4


def test_answers_that_always_break_off_end_it(flaky: Flaky) -> None:
    flaky._broken = 1000
    flaky.start()
    with pytest.raises(BotoCoreError):
        flaky.source().read(0, 100)
    assert flaky.answers < 10


def test_ranges_of_one_version_of_the_object(bucket: Bucket) -> None:
    etag = bucket.upload(b"0123456789")
    source = bucket.job(etag).source(s3_client())
    assert source.size() == 10 and source.read(2, 5) == b"234"
    bucket.upload(b"abcdefghij")
    for ask in (source.size, lambda: source.read(2, 5)):
        with pytest.raises(SourceLost, match="was replaced"):
            ask()
    bucket.s3.delete_object(Bucket=bucket.name, Key=str(UPLOAD))
    for ask in (source.size, lambda: source.read(2, 5)):
        with pytest.raises(SourceLost, match="was deleted"):
            ask()


def test_another_refusal_is_told_as_it_is(bucket: Bucket) -> None:
    etag = bucket.upload(b"0123456789")
    with pytest.raises(ClientError, match="InvalidRange"):
        bucket.job(etag).source(s3_client()).read(20, 30)
