"""Who predicts a batch: a lease in S3 that is renewed while the work goes on, and taken over when it is not.

A released lease is a wish: whoever asks for a prediction puts one, and the first server that sees it takes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from backend.batches.errors import StorageAway, StorageRefuses
from backend.batches.storage import Conflict, Missing, Storage
from contract.batches import LEASE_SECONDS, BadRecord, Lease

__all__ = ["HeldLease", "LeaseLost", "ask_for", "take"]


class LeaseLost(Exception):
    """Another server has the lease, the batch was deleted, or S3 could not be told in time."""


@dataclass
class HeldLease:
    """A lease that is ours until it is said to be lost. Blocking: to be called in threads."""

    storage: Storage
    key: str
    owner: str
    etag: str
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._renewed = self.clock()

    def renew(self) -> None:
        """Tells S3 that we are at it. Raises LeaseLost; one that S3 does not answer is borne for a while."""
        started = self.clock()
        try:
            self.etag = self.storage.put(self.key, Lease(self.owner).encode(), if_match=self.etag)
        except Conflict as error:
            self._check_that_it_is_not_ours(error)
        except StorageAway:
            self.check()
            return
        self._renewed = started

    def confirm(self) -> None:
        """Asks S3 whether the lease is still ours: before anything is written. Raises LeaseLost and StorageAway."""
        self.check()
        try:
            if self.storage.head(self.key).etag == self.etag:
                return
        except Missing:
            pass
        raise LeaseLost("another server has taken over, or the batch was deleted")

    def check(self) -> None:
        """Raises LeaseLost once another server may have taken over."""
        if self.clock() - self._renewed > LEASE_SECONDS * 0.75:
            raise LeaseLost("the storage did not answer for so long that another server may have taken over")

    def release(self, error: tuple[str, str] | None = None) -> None:
        """Lets go, so that anyone may go on at once; with an `error`, that it failed. What is lost stays lost."""
        try:
            self.storage.put(self.key, Lease(self.owner, released=True, error=error).encode(), if_match=self.etag)
        except (Conflict, StorageAway, StorageRefuses):
            return

    def _check_that_it_is_not_ours(self, conflict: Conflict) -> None:
        # A put may have arrived although its answer did not: then the lease has our name and another etag.
        try:
            found = self.storage.get(self.key)
            if Lease.decode(found.data).owner == self.owner:
                self.etag = found.etag
                return
        except (Missing, BadRecord):
            pass
        raise LeaseLost("another server has taken over, or the batch was deleted") from conflict


def ask_for(storage: Storage, key: str, *, anew: bool = False) -> None:
    """Wishes for a prediction, unless someone is at it or has wished already. One that failed is wished for again.

    `anew`: whatever the lease says.
    """
    wish = Lease("", released=True).encode()
    try:
        storage.put(key, wish, if_absent=True)
    except Conflict:
        found = storage.get(key)
        if anew or Lease.decode(found.data).error:
            storage.put(key, wish, if_match=found.etag)


def take(storage: Storage, key: str, owner: str) -> HeldLease | None:
    """The lease, if it is released or was not renewed in time; None if it is another's, failed, or gone."""
    try:
        found = storage.get(key)
        lease = Lease.decode(found.data)
    except (Missing, BadRecord):
        return None
    if lease.error or not (lease.released or found.age > LEASE_SECONDS):
        return None
    try:
        return HeldLease(storage, key, owner, storage.put(key, Lease(owner).encode(), if_match=found.etag))
    except Conflict:
        return None
