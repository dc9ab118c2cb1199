"""One batch through the classifier: shard by shard from S3, at bulk priority, under a lease; what is finished stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import structlog

from backend.batches.errors import StorageAway, StorageRefuses
from backend.batches.lease import HeldLease
from backend.batches.storage import Conflict, Missing, Storage
from contract.batches import RENEW_SECONDS, ResultKeys, TensorKeys, dump
from contract.result_rows import TOP_K
from contract.shards import Counts, Manifest, Row, ShardRows, decode_pixels
from contract.transform import Pixels
from contract.ziplist import ShardPlan
from inference.artefacts import Artefact, Variant
from inference.classifier import Logits, top_k

__all__ = ["MOST_TOGETHER", "Answering", "Prediction", "PredictionFailed", "Work"]

log = structlog.get_logger()
MOST_TOGETHER = 16
"""Images of one submission; two submissions wait at a time, so that the classifier never does."""
_RETRY_SECONDS = 2.0
_WRITE_SECONDS = 20.0

T = TypeVar("T")
Top = tuple[int, float]
"""An image's most probable class: its index and its probability."""


@dataclass(frozen=True)
class Answering:
    """What answers: the predictor's models, and the scheduler at bulk priority, `together` images at once."""

    ready: Callable[[], bool]
    artefact: Callable[[Variant], Artefact]
    submit: Callable[[Variant, Pixels], Awaitable[Logits]]
    together: int = MOST_TOGETHER
    answered: Callable[[Variant, Iterable[Top]], None] = lambda *_: None
    """Is told the answers of each finished shard, in the event loop."""


class InThread(Protocol):
    """Runs what blocks in a thread of the worker's own."""

    def __call__(self, call: Callable[[], T]) -> Awaitable[T]:
        """What `call` returns."""


class PredictionFailed(Exception):
    """Trying again would not help; `code` and `message` are for the person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Work:
    """What is to be predicted, and where."""

    batch: str
    variant: Variant
    tensors: TensorKeys
    results: ResultKeys


class Prediction:
    """Predicts what is missing of one batch."""

    def __init__(
        self,
        storage: Storage,
        lease: HeldLease,
        work: Work,
        answering: Answering,
        in_thread: InThread,
        on_rows: Callable[[Counts], None] = lambda _: None,
    ) -> None:
        self._in_thread = in_thread
        self._writing: asyncio.Task[None] | None = None
        self._storage = storage
        self._lease = lease
        self._work = work
        self._artefact = answering.artefact(work.variant)
        self._answering = answering
        self._on_rows = on_rows

    async def run(self) -> None:
        """To the end, while the lease is ours. Raises LeaseLost, PredictionFailed, Closed."""
        working, renewing = asyncio.create_task(self._work_off()), asyncio.create_task(self._keep_lease())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            else:
                await renewing
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
            if self._writing:  # what is under way cannot be called back: who deletes next must not be overtaken by it
                await asyncio.wait({self._writing}, timeout=_WRITE_SECONDS)

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._in_thread(self._lease.renew)

    async def _work_off(self) -> None:
        manifest = Manifest.decode(await self._persist(lambda: self._storage.get(self._work.tensors.manifest).data))
        finished = await self._persist(self._finished)
        plans = [plan for plan, _ in manifest.shards]
        missing = [plan for plan in plans if plan.number not in finished]
        coming: asyncio.Task[tuple[ShardRows, Pixels | None]] | None = None
        try:
            for plan, following in zip(missing, [*missing[1:], None], strict=True):
                rows, pixels = await (coming or self._start_fetching(plan))
                # The next shard comes in while this one is predicted; never more than two are held.
                coming = self._start_fetching(following) if following else None
                await self._predict_shard(plan, rows, pixels)
        finally:
            if coming:
                coming.cancel()
        done = {**asdict(self._work.variant), "counts": asdict(manifest.counts), "shards": len(plans)}
        await self._put_once(self._work.results.done, dump(done))

    def _finished(self) -> set[int]:
        prefix = f"{self._work.results.prefix}part-"
        names = [found.key.removeprefix(prefix) for found in self._storage.objects(prefix)]
        return {int(name.removesuffix(".jsonl")) for name in names if name.endswith(".jsonl")}

    def _start_fetching(self, plan: ShardPlan) -> asyncio.Task[tuple[ShardRows, Pixels | None]]:
        return asyncio.create_task(self._persist(lambda: self._fetch(plan)))

    def _fetch(self, plan: ShardPlan) -> tuple[ShardRows, Pixels | None]:
        rows = ShardRows.decode(self._storage.get(self._work.tensors.rows(plan.number)).data)
        images = rows.counts.images
        if not images:
            return rows, None
        data = self._storage.get(self._work.tensors.pixels(plan.number)).data
        return rows, decode_pixels(data, images, self._artefact.card.transform.crop)

    async def _predict_shard(self, plan: ShardPlan, rows: ShardRows, pixels: Pixels | None) -> None:
        logits = await self._classify(pixels) if pixels is not None else []
        tops: list[Top] = []
        lines = await self._in_thread(lambda: self._lines(rows.rows, logits, tops))
        await self._put_once(self._work.results.part(plan.number), lines)
        self._on_rows(rows.counts)
        self._answering.answered(self._work.variant, tops)

    async def _classify(self, pixels: Pixels) -> list[Logits]:
        """One float32[C] an image."""
        slots, step = asyncio.Semaphore(2), self._answering.together

        async def some(start: int) -> Logits:
            async with slots:
                return await self._answering.submit(self._work.variant, pixels[start : start + step])

        parts = [asyncio.ensure_future(some(start)) for start in range(0, len(pixels), step)]
        try:
            return [one for part in await asyncio.gather(*parts) for one in part]
        finally:
            for part in parts:
                part.cancel()

    def _lines(self, rows: list[Row], logits: list[Logits], tops: list[Top]) -> bytes:
        answers: Iterator[Logits] = iter(logits)
        return b"".join(dump(self._row(row, answers, tops)) + b"\n" for row in rows)

    def _row(self, row: Row, answers: Iterator[Logits], tops: list[Top]) -> dict[str, Any]:
        if row["status"] != "ok":
            return row
        found = top_k(next(answers), self._artefact.card.labels, TOP_K)
        tops.append((found[0].index, found[0].probability))
        return {**row, "predictions": [asdict(prediction) for prediction in found]}

    async def _put_once(self, key: str, data: bytes) -> None:
        """The first one wins: whoever predicted the same meanwhile has the same rows."""

        def put() -> None:
            self._lease.confirm()
            try:
                self._storage.put(key, data, if_absent=True)
            except Conflict:
                log.info("was there already", key=key)

        self._writing = asyncio.create_task(self._persist(put))
        await asyncio.shield(self._writing)

    async def _persist(self, call: Callable[[], T]) -> T:
        """What `call` returns, however often S3 does not answer, until the lease is lost."""
        while True:
            try:
                return await self._in_thread(call)
            except StorageAway as away:
                self._lease.check()
                log.warning("storage away", batch=self._work.batch, why=str(away))
                await asyncio.sleep(_RETRY_SECONDS)
            except StorageRefuses as refused:
                raise PredictionFailed(refused.code, refused.message) from refused
            except Missing as error:
                message = "Pixels of this batch are missing: they have expired or were deleted. Upload the zip again."
                raise PredictionFailed("no_pixels", message) from error
