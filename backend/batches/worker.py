"""Predicts batches, one at a time: those asked for here at once, those left behind by another server a little later."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

import structlog

from backend.batches.errors import BatchProblem, StorageAway
from backend.batches.lease import HeldLease, LeaseLost, take
from backend.batches.prediction import Answering, Prediction, PredictionFailed, Work
from backend.batches.storage import Storage
from backend.batches.view import BatchView
from backend.batches.views import Views
from contract.batches import State
from contract.shards import BadShard, Counts, tensors_id
from inference.artefacts import DamagedArtefact, Variant
from inference.card import BadCard
from inference.choice import ModelMissing
from inference.classifier import WrongAnswer
from inference.scheduler import Closed, Overloaded

__all__ = ["Worker"]

log = structlog.get_logger()
T = TypeVar("T")
_LOOK_SECONDS = 10.0
_STOP_SECONDS = 60.0
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
        answering: Answering,
        restart: Callable[[BatchView], None],
        on_rows: Callable[[Counts], None] = lambda _: None,
        on_end: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.owner = uuid.uuid4().hex
        self.current: str | None = None
        self._answering = answering
        self._restart = restart
        self._dropped: set[str] = set()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="batch")
        self._storage = storage
        self._views = views
        self._on_rows = on_rows
        self._on_end = on_end
        self._states: dict[str, str] = {}
        self._asked: dict[str, None] = {}
        self._poke = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._next_look: dict[str, float] = {}
        self._predicting: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._run(), name="batch-worker")

    @property
    def states(self) -> Mapping[str, str]:
        """Every batch's state when the worker last looked: a minute ago, of ended ones ten, or a prediction longer."""
        return self._states

    def look_at(self, batch: str) -> None:
        """There is something to do for this batch, now. From any thread."""
        self._loop.call_soon_threadsafe(self._note, batch)

    @contextmanager
    def dropped(self, batch: str) -> Iterator[None]:
        """Within the block nothing is written for this batch, so that it can be deleted. From any thread.

        Raises StorageAway where what is being written does not end.
        """
        stopping = asyncio.run_coroutine_threadsafe(self._stop(batch), self._loop)
        try:
            try:
                stopping.result(timeout=_STOP_SECONDS)
            except TimeoutError:
                stopping.cancel()
                raise StorageAway("a prediction of this batch does not end") from None
            yield
        finally:
            self._loop.call_soon_threadsafe(self._dropped.discard, batch)

    async def close(self) -> None:
        """Stops where it is and lets go, so that another server, or this one after its restart, goes on at once."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- the loop ------------------------------------------------------------------------------------------------

    def _note(self, batch: str) -> None:
        self._asked[batch] = None
        self._poke.set()

    async def _stop(self, batch: str) -> None:
        self._dropped.add(batch)
        if self.current == batch and self._predicting:
            self._predicting.cancel()
            await asyncio.wait({self._predicting})

    async def _run(self) -> None:
        while True:
            try:
                for batch in await self._due() if self._answering.ready() else ():
                    await self._look_at(batch)
            except BatchProblem as problem:
                log.warning("storage away", code=problem.code, why=problem.message)
            except Exception:
                log.exception("the batch worker met something unexpected and goes on")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poke.wait(), _LOOK_SECONDS)
            self._poke.clear()

    async def _due(self) -> list[str]:
        """What was asked for here; then all others, those at rest less often, and what has waited longest first."""
        names = await self._in_thread(self._views.names)
        now = time.monotonic()
        due = sorted((self._next_look.get(name, 0.0), name) for name in names)
        for gone in self._next_look.keys() - set(names):
            del self._next_look[gone]
            self._states.pop(gone, None)
        return list(dict.fromkeys([*self._asked, *(name for when, name in due if when <= now)]))

    async def _look_at(self, batch: str) -> None:
        """One batch. What is wrong with it must not keep the others waiting."""
        self._next_look[batch] = time.monotonic() + _LOOK_WAITING_SECONDS
        self._asked.pop(batch, None)  # whoever asks from now on asks for another look
        try:
            view = await self._in_thread(lambda: self._views.one(batch))
            self._states[batch] = _state(view)
            await self._work_off(view)
        except StorageAway:
            self._next_look[batch] = time.monotonic()  # again soon, behind those that it kept waiting
            raise
        except BatchProblem as problem:
            if problem.code != "unknown_batch":
                log.warning("nothing can be done for a batch", batch=batch, code=problem.code, why=problem.message)
        except Exception:
            log.exception("a batch is passed over", batch=batch)

    async def _work_off(self, view: BatchView) -> None:
        """All variants that are wished for or were left behind; and a run that nobody started."""
        wanted = [found for found in view.predictions if found.state == "predicting"]
        if wanted or view.state in _ENDED:
            self._next_look[view.id] = time.monotonic() + (0.0 if wanted else _LOOK_ENDED_SECONDS)
        if view.restartable and _never_began(view) and view.id not in self._dropped:
            log.info("nobody started the preprocessing", batch=view.id)
            await self._in_thread(lambda: self._restart(view))
        for found in wanted:
            await self._take_and_predict(view, Variant(found.model, found.precision))

    async def _take_and_predict(self, view: BatchView, variant: Variant) -> None:
        assert view.source is not None  # noqa: S101  # what has predictions has a source
        if view.id in self._dropped:
            return
        key = view.source.results(variant.model, variant.precision).lease
        self.current = view.id
        self._predicting = asyncio.create_task(self._predict(view, variant, key))
        try:
            await asyncio.wait({self._predicting})
        except asyncio.CancelledError:
            self._predicting.cancel()
            await asyncio.wait({self._predicting})
            raise
        finally:
            self.current = None
            self._views.forget(view.id)

    async def _lease(self, view: BatchView, key: str) -> HeldLease | None:
        """The lease, unless it cannot be had."""
        taking = asyncio.ensure_future(self._in_thread(lambda: take(self._storage, key, self.owner)))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            lease = await taking  # it may have been taken: then it is to be let go
            if lease:
                await self._in_thread(lease.release)
        except BatchProblem as problem:
            log.warning("lease not taken", batch=view.id, code=problem.code, why=problem.message)
        return None

    async def _predict(self, view: BatchView, variant: Variant, key: str) -> None:
        lease = await self._lease(view, key)
        if lease is None:
            return
        with structlog.contextvars.bound_contextvars(batch=view.id, variant=str(variant)):
            log.info("predicting")
            try:
                await self._prediction(view, variant, lease).run()
                log.info("predicted")
                self._on_end("done")
            except LeaseLost as lost:
                log.warning("lease lost", why=str(lost))
                self._on_end("stopped")
            except (Closed, Overloaded, asyncio.CancelledError) as stopped:
                log.info("stopped", why=type(stopped).__name__)
                self._on_end("stopped")
                await asyncio.shield(self._in_thread(lease.release))
            except Exception as failed:  # noqa: BLE001  # the person is told, and the worker goes on
                error = _reason(failed)
                log.warning("not predicted", code=error[0], why=error[1])
                self._on_end("failed")
                await self._in_thread(lambda: lease.release(error))

    def _prediction(self, view: BatchView, variant: Variant, lease: HeldLease) -> Prediction:
        assert view.source is not None  # noqa: S101  # what has predictions has a source
        artefact = self._answering.artefact(variant)
        tensors = view.source.tensors(tensors_id(artefact.card.transform))
        work = Work(view.id, variant, tensors, view.source.results(variant.model, variant.precision))
        return Prediction(self._storage, lease, work, self._answering, self._in_thread, self._on_rows)

    def _in_thread(self, call: Callable[[], T]) -> asyncio.Future[T]:
        # Threads of our own: the end of the process does not wait for those that wait for S3.
        return asyncio.get_running_loop().run_in_executor(self._threads, call)


def _state(view: BatchView) -> str:
    """`failed` only if it can be started again: a zip that never can be, `refused`, is its sender's matter."""
    return "refused" if view.state is State.FAILED and not view.restartable else view.state


def _never_began(view: BatchView) -> bool:
    """Whether no run was ever started, or AWS gave up the one that was before it began, and not for hours."""
    if view.run is None:
        return True
    return view.state is not State.FAILED and view.run_status is not None and view.run_status.never_began


def _reason(failed: Exception) -> tuple[str, str]:
    """(code, message) for the person who asked for the prediction."""
    match failed:
        case PredictionFailed() | BatchProblem():
            return failed.code, failed.message
        case ModelMissing() | BadCard() | DamagedArtefact():
            return "model_missing", str(failed)
        case WrongAnswer():
            return "no_answer", str(failed)
        case BadShard():
            return "damaged_tensors", f"What was preprocessed cannot be read: {failed}."
    log.error("prediction failed", exc_info=failed)
    return "internal", f"Something went wrong ({type(failed).__name__}); the server's log tells what."
