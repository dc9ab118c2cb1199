"""A constant load on the site: pictures sent at fixed times, whether or not the answers before have come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.compose.site import Site
from tests.pictures import sample

PER_SECOND = 12
_AT_ONCE = 48
_LONGEST_SECONDS = 240
_TRIES = 6
_PICTURE = {"images": ("koala.jpg", sample("koala.jpg"), "image/jpeg")}


class Load:
    """Half of the requests on connections of their own, half on connections that are kept; and what came back.

    As callers are asked to, whoever is told to wait (429) does. `told_to_wait` counts that: on a machine that has other
    work to do as well, two servers beside each other may be slower than the load.
    """

    def __init__(self, site: Site) -> None:
        self.good = 0
        self.bad: list[str] = []
        self.told_to_wait = 0
        self.slowest = 0.0
        self._site = site
        self._kept = site.client(site.key)
        self._over = threading.Event()
        self._lock = threading.Lock()

    def send(self) -> None:
        """Until it is told to stop, and for four minutes at most; waits for the last answers."""
        begun = time.monotonic()
        with self._kept, ThreadPoolExecutor(_AT_ONCE) as pool:
            for number in range(PER_SECOND * _LONGEST_SECONDS):
                if self._over.wait(max(begun + number / PER_SECOND - time.monotonic(), 0)):
                    return
                pool.submit(self._ask, number)

    def stop(self) -> None:
        """Sends no more."""
        self._over.set()

    def _ask(self, number: int) -> None:
        begun = time.monotonic()
        try:
            if number % 2:
                said = self._said_by(self._kept)
            else:
                with self._site.client(self._site.key) as fresh:
                    said = self._said_by(fresh)
        except httpx.HTTPError as error:
            said = f"{type(error).__name__}: {error}"
        with self._lock:
            self.slowest = max(self.slowest, time.monotonic() - begun)
            if said == "koala":
                self.good += 1
            else:
                self.bad.append(f"{time.strftime('%X')} request {number}: {said}")

    def _said_by(self, client: httpx.Client) -> str:
        """The label, or what went wrong."""
        answer = client.post("/v1/predict", files=_PICTURE)
        for _ in range(_TRIES - 1):
            if answer.status_code != 429:
                break
            self.told_to_wait += 1
            time.sleep(float(answer.headers["retry-after"]))
            answer = client.post("/v1/predict", files=_PICTURE)
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text[:200]}"
        return str(answer.json()["results"][0]["predictions"][0]["label"])


@contextmanager
def load(site: Site) -> Iterator[Load]:
    """Under way for as long as the block lasts; after it all answers are there."""
    under_way = Load(site)
    sender = threading.Thread(target=under_way.send)
    sender.start()
    try:
        yield under_way
    finally:
        under_way.stop()
        sender.join()
