"""From parcels to rows: while one zip is preprocessed and predicted, the next is made and uploaded; no more than two.

    parcel ─ pack ─ upload ─> uploaded ─ preprocessing ─> ready ─ predict ─> done ─ rows, in the parcels' order

What becomes of one parcel is its own: a refusal turns its files into error rows, and the others go on.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.batches import Batch, BatchApi, Refused
from cli.progress import PREDICTING, PREPROCESSING, UPLOADING, Report
from cli.results import Row
from cli.server import CannotAnswer
from cli.uploading import Upload
from cli.zips import Pack, Parcel, Problem, pack
from contract.shards import error_row, skipped_row

__all__ = ["Course", "Pipeline"]

IN_FLIGHT = 2
FIRST_POLL_SECONDS = 0.2
LONGEST_POLL_SECONDS = 2.0
PATIENCE_SECONDS = 90.0
"""How long nothing may move before something is done: the Lambda comes again, and the server starts what was lost."""
LONGEST_RUN_SECONDS = 7200.0
"""What another run may take, its waiting included; Glue ends ours after an hour."""
_RUN_FAILED = frozenset({"FAILED", "TIMEOUT", "ERROR", "STOPPED", "EXPIRED"})
_RUN_MOVES = frozenset({"STARTING", "WAITING", "RUNNING", "STOPPING"})
_NOT_YET = frozenset({"created", "uploaded", "preprocessing"})


@dataclass
class Course:
    """What has become of one parcel so far. `batch`: its id on the server, once it has one."""

    number: int
    parcel: Parcel
    batch: str | None = None
    uploaded: bool = False
    pack: Pack | None = None
    variant: tuple[str, str] | None = None
    problem: Problem | None = None
    saved: bool = False

    def fail(self, error: Refused | CannotAnswer) -> None:
        """This parcel is lost."""
        self.problem = (error.code if isinstance(error, Refused) else "server_away", str(error))


@dataclass
class Pipeline:
    """`run` takes all parcels through; their courses tell what became of each, even if it is broken off."""

    api: BatchApi
    model: str | None
    precision: str | None
    parcels: Sequence[Parcel]
    report: Report
    courses: list[Course] = field(init=False)

    def __post_init__(self) -> None:
        self.courses = [Course(number, parcel) for number, parcel in enumerate(self.parcels)]

    async def rows(self) -> AsyncGenerator[Row, None]:
        """The rows of all parcels, one for each item, in order and numbered on. What befalls a parcel is not raised."""
        self._flights = asyncio.Semaphore(IN_FLIGHT)
        self._road = asyncio.Lock()
        tasks = [asyncio.create_task(self._take(course)) for course in self.courses]
        try:
            for course, task in zip(self.courses, tasks, strict=True):
                await task
                async for row in self._rows_of(course):
                    yield row
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, course: Course) -> None:
        async with self._flights:
            try:
                async with self._road:  # one zip on disk, one upload at a time
                    await self._send(course)
                if course.uploaded and course.batch:
                    await self._follow(course, course.batch)
            except (Refused, CannotAnswer) as error:
                course.fail(error)
                self.report.say(f"{course.parcel.file_name} failed: {error}")
            self.report.reached(UPLOADING, course.number, course.parcel.size_bytes)
            for stage in (PREPROCESSING, PREDICTING):
                self.report.reached(stage, course.number, len(course.parcel.items))

    async def _send(self, course: Course) -> None:
        with tempfile.TemporaryDirectory(prefix="ninefold-", ignore_cleanup_errors=True) as folder:
            await self._pack(course, Path(folder) / "batch.zip")
            if course.pack and course.pack.places:
                await self._upload(course, course.pack)

    async def _pack(self, course: Course, target: Path) -> None:
        stop = threading.Event()
        try:
            course.pack = await asyncio.to_thread(pack, course.parcel, target, stop)
        except OSError as error:
            message = f"The zip cannot be made in {tempfile.gettempdir()}: {error.strerror or error}. "
            raise Refused("no_room", message + "Free some space, or name another folder by TMPDIR.") from error
        finally:
            stop.set()  # if nobody waits for the thread any more, it need not go on

    async def _upload(self, course: Course, packed: Pack) -> None:
        size = packed.path.stat().st_size
        created = await self.api.create(course.parcel.file_name, size)
        course.batch = str(created["id"])
        gone, share = 0, course.parcel.size_bytes / size

        def sent(count: int) -> None:
            nonlocal gone
            gone += count
            self.report.reached(UPLOADING, course.number, gone * share)

        shape = created["upload"]
        upload = Upload(self.api, course.batch, packed.path, size, shape["part_size"], shape["parts"], sent)
        try:
            await upload.run()
            course.uploaded = True
        finally:
            if not course.uploaded:
                await self.api.forget(course.batch)

    async def _follow(self, course: Course, batch: str) -> None:
        await self._predict(course, batch)
        async for body in self._polls(batch):
            mine = next((one for one in body["predictions"] if self._is_wanted(one)), None)
            if mine and mine["state"] == "done":
                course.variant = mine["model"], mine["precision"]
                return
            if mine and mine["state"] == "failed":
                raise _why(mine["error"], "predicting failed")
            if body["state"] in ("failed", "expired"):
                raise _why(body["error"], f"the batch is {body['state']}")
            self._tell(course, PREDICTING, mine or body.get("progress"))

    async def _predict(self, course: Course, batch: str) -> None:
        """Until the server takes it."""
        first, again = _FirstRun(self.api, batch, self.model), _AnotherRun(self.api, batch, self.model)
        async for body in self._polls(batch):
            self._tell(course, PREPROCESSING, body.get("progress"))
            if body["state"] in ("failed", "expired"):
                raise _why(body["error"], f"the batch is {body['state']}")
            if body["state"] in _NOT_YET:
                await first.see_to_it(body)
                continue
            try:
                await self.api.predict(batch, self.model, self.precision)
            except Refused as refused:
                if refused.code != "needs_preprocessing":
                    raise
                if await again.see_to_it(body, refused):
                    self.report.say(f"{course.parcel.file_name} is preprocessed once more, as {self.model} needs it")
            else:
                self.report.reached(PREPROCESSING, course.number, len(course.parcel.items))
                return

    async def _polls(self, batch: str) -> AsyncIterator[Batch]:
        pause = FIRST_POLL_SECONDS
        while True:
            yield await self.api.get(batch)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_SECONDS)

    def _is_wanted(self, prediction: dict[str, Any]) -> bool:
        return self.model in (None, prediction["model"]) and self.precision in (None, prediction["precision"])

    def _tell(self, course: Course, stage: str, progress: dict[str, Any] | None) -> None:
        if progress and progress.get("total") and progress.get("stage", stage) == stage:
            part = progress["done"] / progress["total"]
            detail = str(progress.get("detail") or "")
            self.report.reached(stage, course.number, part * len(course.parcel.items), detail)

    async def _rows_of(self, course: Course) -> AsyncIterator[Row]:
        places = course.pack.places if course.pack else range(len(course.parcel.items))
        problems = course.pack.problems if course.pack else {}
        following = 0
        if course.variant and course.batch:
            try:
                async with aclosing(self.api.rows(course.batch, *course.variant)) as rows:
                    async for row in rows:
                        place = _place(row, following, places)
                        for between in range(following, place):
                            yield self._own_row(course, between, problems)
                        yield {**row, "entry": course.parcel.first + place}
                        following = place + 1
            except (Refused, CannotAnswer) as error:
                course.fail(error)
                self.report.say(f"{course.parcel.file_name}: {error}")
        for rest in range(following, len(course.parcel.items)):
            yield self._own_row(course, rest, problems)

    def _own_row(self, course: Course, place: int, problems: dict[int, Problem]) -> Row:
        """The row of an item that the server has none for."""
        item, number = course.parcel.items[place], course.parcel.first + place
        if item.reason:
            return skipped_row(number, item.name, item.reason)
        missing = ("results_broken", "The server has no row for this entry.")
        return error_row(number, item.name, *(problems.get(place) or item.problem or course.problem or missing))


@dataclass
class _FirstRun:
    """The run that the upload should have started: where it was lost, it is asked for, once."""

    api: BatchApi
    batch: str
    model: str | None
    asked: bool = False
    since: float | None = None

    async def see_to_it(self, body: Batch) -> None:
        """Looks at a batch without pixels. Raises Refused for one that does not start."""
        if not body.get("restartable"):
            return
        # The time runs on if it is not restartable for a moment: each start that fails looks like that.
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        if now - self.since < PATIENCE_SECONDS:
            return
        if self.asked:
            detail = (body.get("progress") or {}).get("detail") or "Nobody says why."
            raise Refused("not_started", f"The preprocessing does not start. {detail}")
        self.asked, self.since = True, now
        try:
            await self.api.preprocess(self.batch, self.model)
        except Refused as refused:
            if refused.code != "wrong_state":  # that it is at it already
                raise


@dataclass
class _AnotherRun:
    """The run that makes another model's pixels: asked for until the server takes it, and then waited for."""

    api: BatchApi
    batch: str
    model: str | None
    asked: bool = False
    first: float | None = None
    moved: float = 0.0
    refused: Refused | None = None

    async def see_to_it(self, body: Batch, needed: Refused) -> bool:
        """Looks at a batch without these pixels; whether the run was asked for just now. Raises Refused."""
        now, state = time.monotonic(), str((body.get("run") or {}).get("state", ""))
        if self.first is None:
            self.first = self.moved = now
        if self.asked and state in _RUN_FAILED:
            raise Refused("preprocessing_failed", f"The preprocessing for {self.model} ended as {state}. {needed}")
        if state in _RUN_MOVES:
            self.moved = now
        if now - self.moved > PATIENCE_SECONDS or now - self.first > LONGEST_RUN_SECONDS:
            raise self.refused or needed
        if self.asked or state in _RUN_MOVES:
            return False
        try:
            await self.api.preprocess(self.batch, self.model)
        except Refused as refused:
            if refused.code != "wrong_state":  # somebody else's run is at it, or it stays so: time tells
                raise
            self.refused = refused
            return False
        self.asked, self.moved, self.refused = True, now, None
        return True


def _place(row: Row, following: int, places: Sequence[int]) -> int:
    """To which item the row belongs. Raises Refused for one that was there before, or that no item has."""
    entry = row.get("entry")
    if not isinstance(entry, int) or not 0 <= entry < len(places) or places[entry] < following:
        raise Refused("results_broken", "The server's results do not fit the zip that it was sent.")
    return places[entry]


def _why(error: dict[str, str] | None, otherwise: str) -> Refused:
    return Refused(error["code"], error["message"]) if error else Refused("failed", f"{otherwise}, and nobody says why")
