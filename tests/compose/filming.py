"""A camera before the site that never stops filming: whenever it is told to connect again, it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.cameras import answer
from tests.compose.site import Site
from tests.pictures import sample

_PAUSE_SECONDS = 0.5


class Camera:
    """What came back: frames that were answered rightly, how connections ended, what else went wrong.

    Whoever is told to come later (503) does, as the answer's Retry-After says.
    """

    def __init__(self, site: Site) -> None:
        self.answers = 0
        self.since_the_last_end = 0
        self.ends: list[tuple[int | None, str]] = []
        self.bad: list[str] = []
        self._site = site
        self._over = threading.Event()

    def film(self) -> None:
        """Until it is told to stop."""
        while not self._over.is_set():
            try:
                with self._site.live(self._site.key) as connection:
                    self._send(connection)
            except ConnectionClosed as closed:
                word = closed.rcvd.reason.split(":")[0] if closed.rcvd else ""
                self.ends.append((closed.rcvd.code if closed.rcvd else None, word))
                self.since_the_last_end = 0
            except InvalidStatus as refused:
                if refused.response.status_code != 503:
                    self.bad.append(f"{refused.response.status_code} {refused.response.body!r}")
                time.sleep(float(refused.response.headers.get("Retry-After", "1")))
            except (OSError, InvalidMessage) as broken:
                self.bad.append(f"{type(broken).__name__}: {broken}")
                time.sleep(_PAUSE_SECONDS)

    def stop(self) -> None:
        """After the frame at work."""
        self._over.set()

    def _send(self, connection: ClientConnection) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            connection.send(sample("koala.jpg"))
            got = answer(connection)
            if got["labels"][0]["label"] != "koala":
                self.bad.append(str(got))
            self.answers += 1
            self.since_the_last_end += 1


@contextmanager
def filming(site: Site) -> Iterator[Camera]:
    """Under way for as long as the block lasts."""
    camera = Camera(site)
    thread = threading.Thread(target=camera.film)
    thread.start()
    try:
        yield camera
    finally:
        camera.stop()
        thread.join()
