"""Batches as they are just now; what did not change is not fetched again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from backend.batches.errors import BatchProblem, unknown_batch
from backend.batches.job_runs import JobRuns
from backend.batches.reading import Reader
from backend.batches.storage import Missing, Storage
from backend.batches.view import BatchView, Notice
from contract.batches import BATCHES, NOTICE_KEY, UPLOADS, BatchKeys, State, is_batch_id
from contract.shards import Manifest

__all__ = ["Views"]

_MOVING_SECONDS = 1.0
_GOOD_FOR = {
    State.CREATED: 10.0,
    State.UPLOADED: 3.0,
    State.READY: 5.0,
    State.DONE: 60.0,
    State.FAILED: 30.0,
    State.EXPIRED: 60.0,
}
"""How many seconds a list may show a batch as it was; what is done to one through this server is seen at once."""
_NOTICE_SECONDS = 5.0
_AT_ONCE = 8


class Views:
    """Reads batches. Blocking: to be called in threads."""

    def __init__(self, storage: Storage, job_runs: JobRuns, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._job_runs = job_runs
        self._clock = clock
        self._seen: dict[str, tuple[float, BatchView]] = {}
        self.notice = Notice()
        """What a list says beside the batches, as it was some seconds ago at the most."""
        self._notice_read = float("-inf")
        self._listing: list[BatchView] = []
        self._swept = False
        self._sweeping = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="batch-views")
        # By key and etag, so what is cached cannot be out of date.
        self._body = lru_cache(maxsize=4096)(lambda key, _etag: storage.get(key).data)
        self._manifest = lru_cache(maxsize=256)(lambda key, etag: Manifest.decode(self._body(key, etag)))

    def all(self) -> list[BatchView]:
        """Every batch, the newest first; those at rest as they were some seconds ago at the most."""
        # One sweep at a time: who comes meanwhile gets what the one before found, and waits only if there was none.
        if not self._sweeping.acquire(blocking=not self._swept):
            return self._listing
        try:
            names = self.names()
            self._read_notice()
            for gone in list(self._seen.keys() - names):
                self._seen.pop(gone, None)
            found = self._pool.map(self._recent, names)
            self._listing = sorted(filter(None, found), key=lambda view: view.created, reverse=True)
            self._swept = True
            return self._listing
        finally:
            self._sweeping.release()

    def names(self) -> set[str]:
        """The ids of all batches."""
        found = {*self._storage.folders(UPLOADS), *self._storage.folders(BATCHES)}
        return {name for name in found if is_batch_id(name)}

    def one(self, batch: str) -> BatchView:
        """As it is this moment. Raises BatchProblem unknown_batch."""
        try:
            keys = BatchKeys(batch)
        except ValueError as error:
            raise unknown_batch(batch) from error
        view = Reader(self._storage, self._job_runs, keys, self._body, self._manifest).view()
        if view is None:
            self._seen.pop(batch, None)
            raise unknown_batch(batch)
        self._seen[batch] = (self._clock(), view)
        return view

    def seen(self, batch: str) -> BatchView:
        """As it was some seconds ago at the most. Raises BatchProblem unknown_batch."""
        view = self._recent(batch)
        if view is None:
            raise unknown_batch(batch)
        return view

    def forget(self, batch: str) -> None:
        """Something was done to it: the next look is a fresh one."""
        self._seen.pop(batch, None)

    def _read_notice(self) -> None:
        """Nothing to say where there is none, or where it cannot be understood."""
        now = self._clock()
        if now < self._notice_read + _NOTICE_SECONDS:
            return
        try:
            body = json.loads(self._storage.get(NOTICE_KEY).data)
            self.notice = Notice(str(body.get("message", "")), bool(body.get("disposable", False)))
        except (Missing, ValueError, AttributeError):
            self.notice = Notice()
        self._notice_read = now

    def _recent(self, batch: str) -> BatchView | None:
        when, view = self._seen.get(batch, (0.0, None))
        if view:
            moving = any(found.state == "predicting" for found in view.predictions)
            if self._clock() - when < (_MOVING_SECONDS if moving else _GOOD_FOR.get(view.state, _MOVING_SECONDS)):
                return view
        try:
            return self.one(batch)
        except BatchProblem as problem:
            if problem.code == "unknown_batch":
                return None
            raise
