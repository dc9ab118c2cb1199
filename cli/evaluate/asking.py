"""Every picture through every variant that has not answered it: decoded once, classified by each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from cli.evaluate.kept import TOP, Answer, Answers, Kept
from cli.evaluate.loading import Loaded
from contract.transform import BadImage, ImageLimits, Pixels, TransformSpec, to_pixels
from inference.classifier import WrongAnswer, top_k
from inference.labelled import Labelled

COMMIT_SECONDS = 1.0
_AHEAD = 4  # pictures a thread that are asked for before the oldest is there: what is in memory at once


def bytes_of(path: Path) -> bytes:
    """The file's bytes. Raises BadImage where they cannot be read, or are too many to be."""
    most = ImageLimits().max_bytes
    try:
        if not path.is_file():
            raise BadImage("unreadable", "There is no such file, or it is none.")
        if path.stat().st_size > most:  # known without reading it
            raise BadImage("too_many_bytes", f"The file is larger than {most / 1e6:.0f} MB, the most there may be.")
        return path.read_bytes()
    except OSError as error:
        raise BadImage("unreadable", f"The file cannot be read: {error.strerror}.") from error


def answer(loaded: Loaded, pixels: Pixels) -> Answer:
    """uint8[H,W,3] → the indices of the most probable classes, or why there is none."""
    try:
        logits = loaded.classifier(pixels[None])[0]
        return Answer(tuple(line.index for line in top_k(logits, loaded.artefact.card.labels, TOP)))
    except WrongAnswer as error:
        return Answer(error=f"no_answer: {error}")


class Asking:
    """One pack of variants that see the same pixels, and what they have answered so far.

    `numbers` are what the file keeps them by, `answers` what it has of them; `tell` hears how many pictures were done.
    """

    def __init__(self, pack: Sequence[Loaded], numbers: Sequence[int], answers: Sequence[Answers]) -> None:
        self._pack = list(zip(pack, numbers, answers, strict=True))
        missing = [set(each.missing()) for each in answers]
        self.todo = {
            place: [turn for turn, lacks in enumerate(missing) if place in lacks]
            for place in sorted(set().union(*missing))
        }

    def ask(self, pictures: Sequence[Labelled], kept: Kept, threads: int, tell: Callable[[int], None]) -> None:
        """Works off what is missing and keeps each answer; what came until an interrupt stays."""
        last = time.monotonic()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="evaluate")
        try:
            for place, found in self._in_order(pool, pictures, threads):
                self._note(place, found, kept)
                tell(1)
                if time.monotonic() - last >= COMMIT_SECONDS:
                    kept.commit()
                    last = time.monotonic()
        finally:
            pool.shutdown(cancel_futures=True)
            kept.commit()

    def _in_order(
        self, pool: ThreadPoolExecutor, pictures: Sequence[Labelled], threads: int
    ) -> Iterator[tuple[int, list[Answer]]]:
        """The places and their answers, never more than a few pictures a thread at once."""
        running: deque[tuple[int, Future[list[Answer]]]] = deque()
        for place, turns in self.todo.items():
            running.append((place, pool.submit(self._answers, pictures[place].path, turns)))
            if len(running) >= _AHEAD * threads:
                first, future = running.popleft()
                yield first, future.result()
        for place, future in running:
            yield place, future.result()

    def _answers(self, path: Path, turns: Sequence[int]) -> list[Answer]:
        """What each of these variants says of the picture; that it is no picture, all of them say."""
        try:
            pixels = to_pixels(bytes_of(path), self._spec)
        except BadImage as bad:
            return [Answer(error=f"{bad.code}: {bad.message}")] * len(turns)
        return [answer(self._pack[turn][0], pixels) for turn in turns]

    def _note(self, place: int, found: Sequence[Answer], kept: Kept) -> None:
        turns = self.todo[place]
        for turn, said in zip(turns, found, strict=True):
            self._pack[turn][2].note(place, said)
        kept.add(place, [(self._pack[turn][1], said) for turn, said in zip(turns, found, strict=True)])

    @property
    def _spec(self) -> TransformSpec:
        return self._pack[0][0].artefact.card.transform
