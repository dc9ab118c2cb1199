"""Predicts batches, one at a time: those asked for here at once, those left behind by another server a little later."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

import structlog

from backend.batches.errors import BatchProblem, StorageAway
from backend.batches.lease import HeldLease, LeaseLost, take
from backend.batches.prediction import Prediction, PredictionFailed, Work
from backend.batches.storage import Storage
from backend.batches.view import BatchView
from backend.batches.views import Views
from contract.batches import State
from contract.shards import BadShard, Counts, tensors_id
from contract.transform import Pixels
from inference.artefacts import Artefact, DamagedArtefact, Variant
from inference.card import BadCard
from inference.choice import ModelMissing
from inference.classifier import Logits
from inference.scheduler import Closed, Overloaded, Priority, Scheduler

__all__ = ["Worker"]

log = structlog.get_logger()
_LOOK_SECONDS = 10.0
# A look costs two listings. What another server left is taken after a minute anyway; of ended ones hardly any is left.
_LOOK_WAITING_SECONDS = 60.0
_LOOK_ENDED_SECONDS = 600.0
_ENDED = frozenset({State.FAILED, State.EXPIRED, State.DONE})


class Worker:
    """One a server; several servers share the work through the leases in S3. To be made in the serving event loop."""

    def __init__(
        self,
        storage: Storage,
        views: Views,
        scheduler: Scheduler,
        artefact: Callable[[Variant], Artefact],
        on_rows: Callable[[Counts], None] = lambda _: None,
    ) -> None:
        self.owner = uuid.uuid4().hex
        self.current: str | None = None
        self._storage = storage
        self._views = views
        self._scheduler = scheduler
        self._artefact = artefact
        self._on_rows = on_rows
        self._asked: list[str] = []
        self._poke = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._next_look: dict[str, float] = {}
        self._predicting: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._run(), name="batch-worker")

    def look_at(self, batch: str) -> None:
        """There is something to do for this batch, now. From any thread."""
        self._loop.call_soon_threadsafe(self._note, batch)

    def drop(self, batch: str) -> None:
        """The batch is to be deleted: nothing more is written. From any thread; returns when it is so."""
        asyncio.run_coroutine_threadsafe(self._stop(batch), self._loop).result(timeout=30)

    async def close(self) -> None:
        """Stops where it is and lets go, so that another server, or this one after its restart, goes on at once."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    # -- the loop ------------------------------------------------------------------------------------------------

    def _note(self, batch: str) -> None:
        self._asked.append(batch)
        self._poke.set()

    async def _stop(self, batch: str) -> None:
        if self.current == batch and self._predicting:
            self._predicting.cancel()
            await asyncio.wait({self._predicting})

    async def _run(self) -> None:
        while True:
            try:
                for batch in await self._due():
                    await self._work_off(batch)
            except StorageAway as away:
                log.warning("storage away", why=str(away))
            except BatchProblem as problem:
                log.error("batches cannot be looked at", code=problem.code, why=problem.message)
            except Exception:
                log.exception("the batch worker met something unexpected and goes on")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poke.wait(), _LOOK_SECONDS)
            self._poke.clear()

    async def _due(self) -> list[str]:
        """What was asked for here; then all others, those at rest less often."""
        asked, self._asked = self._asked, []
        names = await asyncio.to_thread(self._views.names)
        now = time.monotonic()
        due = [name for name in sorted(names) if self._next_look.get(name, 0.0) <= now]
        for gone in self._next_look.keys() - set(names):
            del self._next_look[gone]
        return list(dict.fromkeys([*asked, *due]))

    async def _work_off(self, batch: str) -> None:
        """All variants of one batch that are wished for or were left behind."""
        try:
            view = await asyncio.to_thread(self._views.one, batch)
        except StorageAway:
            raise
        except BatchProblem:
            return
        wanted = [found for found in view.predictions if found.state == "predicting"]
        pause = 0.0 if wanted else _LOOK_ENDED_SECONDS if view.state in _ENDED else _LOOK_WAITING_SECONDS
        self._next_look[batch] = time.monotonic() + pause
        for found in wanted:
            await self._take_and_predict(view, Variant(found.model, found.precision))

    async def _take_and_predict(self, view: BatchView, variant: Variant) -> None:
        assert view.source is not None  # noqa: S101  # what has predictions has a source
        results = view.source.results(variant.model, variant.precision)
        lease = await asyncio.to_thread(take, self._storage, results.lease, self.owner)
        if lease is None:
            return
        self.current = view.id
        self._predicting = asyncio.create_task(self._predict(view, variant, lease))
        try:
            await asyncio.wait({self._predicting})
        except asyncio.CancelledError:
            self._predicting.cancel()
            await asyncio.wait({self._predicting})
            raise
        finally:
            self.current = None
            self._views.forget(view.id)

    async def _predict(self, view: BatchView, variant: Variant, lease: HeldLease) -> None:
        error: tuple[str, str] | None = None
        with structlog.contextvars.bound_contextvars(batch=view.id, variant=str(variant)):
            log.info("predicting")
            try:
                await self._prediction(view, variant, lease).run()
                log.info("predicted")
            except LeaseLost as lost:
                log.warning("lease lost", why=str(lost))
                return
            except (Closed, Overloaded, asyncio.CancelledError) as stopped:
                log.info("stopped", why=type(stopped).__name__)
                await asyncio.shield(asyncio.to_thread(lease.release))
                return
            except PredictionFailed as failed:
                error = (failed.code, failed.message)
            except (ModelMissing, BadCard, DamagedArtefact) as failed:
                error = ("model_missing", str(failed))
            except BadShard as failed:
                error = ("damaged_tensors", f"What was preprocessed cannot be read: {failed}.")
            except Exception as failed:
                log.exception("prediction failed")
                error = ("internal", f"Something went wrong ({type(failed).__name__}); the server's log tells what.")
            await asyncio.to_thread(lease.release, error)

    def _prediction(self, view: BatchView, variant: Variant, lease: HeldLease) -> Prediction:
        assert view.source is not None  # noqa: S101  # what has predictions has a source
        artefact = self._artefact(variant)
        tensors = view.source.tensors(tensors_id(artefact.card.transform))
        work = Work(view.id, variant, tensors, view.source.results(variant.model, variant.precision))
        return Prediction(self._storage, lease, work, artefact, self._submit, self._on_rows)

    async def _submit(self, variant: Variant, pixels: Pixels) -> Logits:
        return await self._scheduler.submit(variant, pixels, Priority.BULK)
