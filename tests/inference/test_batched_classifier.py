"""Calls that are filled up and shared out, with runners that are played: what they run on makes no difference here."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from contract.transform import Pixels
from inference.batched_classifier import BatchedClassifier
from inference.classifier import Logits

SIDE, CLASSES = 2, 3


def images(*values: int) -> Pixels:
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, SIDE, SIDE, 3), np.uint8)


class PlayedRunner:
    """Answers each staged image with its own value; remembers its calls, and that nobody else is in one."""

    def __init__(self, room: int = 128, most: int = 8, seconds: float = 0, per_image: float = 0) -> None:
        self.staged = np.zeros((128, SIDE, SIDE, 3), np.uint8)
        self.ready: set[int] = set()
        self.calls: list[int] = []
        self.error: Exception | None = None
        self._room, self._most, self._seconds, self._per_image = room, most, seconds, per_image
        self._answers = np.zeros((128, CLASSES), np.float32)
        self._busy = threading.Lock()

    def prepare(self, size: int) -> None:
        if size > self._room or len(self.ready) == self._most:
            raise MemoryError
        self.ready.add(size)

    def drop(self, size: int) -> None:
        self.ready.remove(size)

    def run(self, size: int) -> Logits:
        assert size in self.ready and self._busy.acquire(blocking=False)
        try:
            self.calls.append(size)
            time.sleep(self._seconds + size * self._per_image)
            if self.error:
                raise self.error
            self._answers[:size] = self.staged[:size, 0, 0]
            return self._answers[:size]
        finally:
            self._busy.release()


def classifier(*runners: PlayedRunner, sizes: tuple[int, ...] | None = (1, 4)) -> BatchedClassifier:
    return BatchedClassifier(runners, (CLASSES,), lambda: 7, sizes)


@pytest.mark.parametrize(("count", "calls"), [(1, [1]), (2, [4]), (4, [4]), (5, [4, 1]), (11, [4, 4, 4])])
def test_calls_are_filled_up_to_the_next_size_and_cut_at_the_largest(count: int, calls: list[int]) -> None:
    runner = PlayedRunner()
    answers = classifier(runner)(images(*range(count)))
    assert runner.calls == calls
    assert answers[:, 0].tolist() == list(range(count)) and answers.shape == (count, CLASSES)
    assert answers.dtype == np.float32


def test_an_answer_is_the_callers_to_keep() -> None:
    one = classifier(PlayedRunner())
    first = one(images(5))
    one(images(6))
    assert first[0, 0] == 5


def test_sixteen_threads_on_two_runners_get_their_own_answers() -> None:
    runners, wrong = (PlayedRunner(seconds=0.001), PlayedRunner(seconds=0.001)), []
    shared = classifier(*runners)

    def ask(number: int) -> None:
        for _ in range(10):
            values = [(number * 7 + place) % 256 for place in range(1 + number % 6)]
            wrong.extend([number] if shared(images(*values))[:, 0].tolist() != values else [])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and all(runner.calls for runner in runners)


def test_a_call_that_fails_gives_its_runner_back() -> None:
    runner = PlayedRunner()
    one = classifier(runner)
    runner.error = RuntimeError("the device is gone")
    with pytest.raises(RuntimeError, match="gone"):
        one(images(1))
    runner.error = None
    assert one(images(3))[0, 0] == 3


def test_sizes_are_chosen_by_what_they_cost_and_the_others_are_given_back() -> None:
    runners = PlayedRunner(seconds=0.004, per_image=0.000_02), PlayedRunner()
    chosen = classifier(*runners, sizes=None)
    assert chosen.max_batch >= 64
    assert 1 < len(chosen.sizes) < 8 or chosen.sizes == (128,)
    assert runners[0].ready == runners[1].ready == set(chosen.sizes)


def test_where_there_is_no_room_for_large_batches_they_are_smaller() -> None:
    assert classifier(PlayedRunner(room=5, seconds=0.004), sizes=None).max_batch == 4
    with pytest.raises(MemoryError):
        classifier(PlayedRunner(room=0), sizes=None)


@pytest.mark.parametrize("second", [PlayedRunner(room=1), PlayedRunner(most=1)])
def test_where_there_is_no_room_for_a_second_runner_one_has_to_do(second: PlayedRunner) -> None:
    one = classifier(PlayedRunner(), second)
    assert one.runners == 1 and not second.ready
    assert one(images(1, 2, 3))[:, 0].tolist() == [1, 2, 3]


def test_its_memory_is_what_it_is_told() -> None:
    assert classifier(PlayedRunner()).memory_bytes == 7


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        classifier(PlayedRunner())(np.zeros((1, SIDE + 1, SIDE, 3), np.uint8))
