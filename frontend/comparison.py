"""The same pictures through several variants: one request after the other, each timed, nothing asked twice.

One picture a request, and never two requests at once: the variants must not compete for the processor whose time they
are compared by. Whenever another variant comes to its turn, its first answer warms it up and is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from threading import Lock

from frontend.api import Answer, ApiError, Problem, Refused, VariantName
from frontend.pictures import Picture
from frontend.side_by_side import Cell, SideBySide
from frontend.visit import ASKED_TOP_K, Patience, Visit

__all__ = ["MOST", "Comparison"]

MOST = 6
"""Variants side by side: more columns could not be read."""

WATCHED_SECONDS = 6.0
"""A page that has not looked for so long is closed, and nothing more is asked for it."""

DRAWING_SECONDS = 0.5
"""Often browser, page and server share one machine: what was drawn last is on the screen before anything is timed."""

_OF_THE_VARIANT = ("model_missing", "unknown_model", "model_damaged")


@dataclass
class Comparison:
    """One session's comparison, over the pictures of its visit. Safe between threads.

    `workers`: where comparisons run, each in one piece, and the others wait; not where the visits' pictures are asked.
    `changes` counts what a page drawn earlier does not show yet.
    """

    visit: Visit
    workers: Executor
    variants: tuple[VariantName, ...] = ()
    patience: Patience = field(default_factory=Patience)
    timer: Callable[[], float] = time.perf_counter
    drawing: float = DRAWING_SECONDS
    changes: int = 0
    _cells: dict[tuple[int, VariantName], Cell] = field(default_factory=dict)
    _refusals: dict[VariantName, Problem] = field(default_factory=dict)
    _state: str = ""
    _watched: float = float("-inf")
    _working: Future[None] | None = None
    _lock: Lock = field(default_factory=Lock, repr=False)

    def watch(self) -> None:
        """The page is open: takes in what the server is like, and goes on asking where that makes sense."""
        self._watched = self.visit.clock()
        self.visit.collect()
        self.visit.look()
        if self.visit.status.state != self._state:
            self._state = self.visit.status.state
            self.patience.reset()
            self.changes += 1

    def choose(self, variants: Sequence[VariantName]) -> None:
        """The columns, from left to right. What a variant was refused for is forgotten with its column."""
        if tuple(variants) != self.variants:
            self.variants = tuple(variants)
            with self._lock:
                self._refusals = {name: why for name, why in self._refusals.items() if name in variants}
            self.patience.reset()

    def table(self) -> SideBySide:
        """What is known now of the pictures that are there now."""
        pictures = tuple(self.visit.tray.pictures)
        found = {(p.id, v): self._cell(p, v) for p in pictures for v in self.variants}
        return SideBySide(pictures, self.variants, {place: cell for place, cell in found.items() if cell})

    @property
    def busy(self) -> bool:
        """Whether it is asking."""
        return self._working is not None and not self._working.done()

    @property
    def queued(self) -> bool:
        """Whether it is to ask once another comparison has ended."""
        return self.busy and self._working is not None and not self._working.running()

    @property
    def due(self) -> bool:
        """Whether there is something to ask, and it may be asked now."""
        if self.visit.status.state != "ready" or self.visit.asking or not self.patience.due(self.visit.clock()):
            return False
        return self._next() is not None

    @property
    def failed(self) -> bool:
        """Whether something is left that only the person may ask again."""
        cells = self.table().cells.values()
        return self.patience.spent or any(cell.again for cell in cells)

    def start(self) -> None:
        """Asks for what is missing, beside the run."""
        with self._lock:
            if not self.busy and self.due:
                self._working = self.workers.submit(self._work)

    def settle(self, seconds: float) -> None:
        """Waits this long for what is being asked."""
        if self._working:
            wait([self._working], seconds)

    def again(self) -> None:
        """Forgets refusals, so that what they were given for is asked again."""
        with self._lock:
            self._refusals = {}
            self._cells = {place: cell for place, cell in self._cells.items() if not cell.again}
        self.patience.reset()

    def _work(self) -> None:
        time.sleep(self.drawing)
        warm: VariantName | None = None
        while self._open and self.due and (wanted := self._next()):
            picture, variant = wanted
            since = self.timer()
            try:
                (answer,) = self.visit.api.predict(variant, [(picture.name, picture.data)], ASKED_TOP_K)
            except ApiError as error:
                self._fail(picture, variant, error)
                continue
            seconds = self.timer() - since
            self.patience.reset()
            if answer.problem:
                self._keep(picture, variant, Cell(answer))
            elif warm == variant:
                self._keep(picture, variant, Cell(answer, seconds))
            else:
                warm = variant
        self.changes += 1

    @property
    def _open(self) -> bool:
        return self.visit.clock() - self._watched < WATCHED_SECONDS

    def _next(self) -> tuple[Picture, VariantName] | None:
        """Column by column: with many variants a server may hold only some of them in memory."""
        pictures = list(self.visit.tray.pictures)
        missing = ((p, v) for v in self.variants for p in pictures if self._cell(p, v) is None)
        return next(missing, None)

    def _cell(self, picture: Picture, variant: VariantName) -> Cell | None:
        if picture.problem:
            return Cell(Answer(picture.name, problem=picture.problem))
        if refusal := self._refusals.get(variant):
            return Cell(Answer(picture.name, problem=refusal), again=True)
        return self._cells.get((picture.id, variant))

    def _keep(self, picture: Picture, variant: VariantName, cell: Cell) -> None:
        # The page of pictures knows it then, too.
        self.visit.tray.keep(variant, [picture], [cell.answer])
        self._store(picture, variant, cell)

    def _store(self, picture: Picture, variant: VariantName, cell: Cell) -> None:
        with self._lock:
            here = {each.id for each in self.visit.tray.pictures}
            self._cells = {place: known for place, known in self._cells.items() if place[0] in here}
            if picture.id in here:
                self._cells[picture.id, variant] = cell
            self.changes += 1

    def _fail(self, picture: Picture, variant: VariantName, error: ApiError) -> None:
        code = getattr(error, "code", "")
        problem = Problem(code, error.message)
        if code in _OF_THE_VARIANT:
            with self._lock:
                self._refusals[variant] = problem
                self.changes += 1
        elif isinstance(error, Refused):
            self._store(picture, variant, Cell(Answer(picture.name, problem=problem), again=True))
        else:
            self.patience.later(self.visit.clock(), error)
            self.visit.look_again()
