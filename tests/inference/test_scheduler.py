"""The scheduler, with classifiers that do what each test needs: the real seam, no network behind it."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from contract.transform import Pixels
from inference.artefacts import Variant
from inference.classifier import DeviceLost, Logits
from inference.scheduler import Closed, Inference, Overloaded, Priority, Scheduler

A, B, C = (Variant(name, "fp32") for name in "abc")
BULK, MANY, LIVE, INTERACTIVE = Priority.BULK, Priority.MANY, Priority.LIVE, Priority.INTERACTIVE


def images(*values: int) -> Pixels:
    """One 1×1 image a value, so that an answer shows which image it belongs to."""
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)


class FakeClassifier:
    """Answers each image with its own value; waits at its gate while that is closed; remembers its calls."""

    def __init__(self, max_batch: int = 1, memory_bytes: int = 1) -> None:
        self.max_batch = max_batch
        self.memory_bytes = memory_bytes
        self.calls: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def __call__(self, pixels: Pixels) -> Logits:
        self.calls.append(pixels[:, 0, 0, 0].tolist())
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return pixels[:, 0, 0, :2].astype(np.float32)


def run(test: Callable[[Scheduler, FakeClassifier], object], classifier: FakeClassifier | None = None, **options: int):
    """Runs an async test on a scheduler of one lane with one fake classifier."""
    fake = classifier or FakeClassifier()

    async def main() -> None:
        scheduler = Scheduler(lambda _: fake, **({"lanes": 1} | options))
        try:
            async with asyncio.timeout(20):
                await test(scheduler, fake)
        finally:
            fake.gate.set()
            await scheduler.close()

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_every_image_gets_its_own_answer() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        submissions = [scheduler.submit(A, images(n, n + 1, n + 2), INTERACTIVE) for n in range(0, 90, 3)]
        answers = np.concatenate(await asyncio.gather(*submissions))
        assert answers[:, 0].tolist() == list(range(90))

    run(test, lanes=4)


def test_strangers_share_a_call_and_get_their_own_answers() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        fake.gate.clear()
        first = asyncio.create_task(scheduler.submit(A, images(0), INTERACTIVE))
        await until(lambda: fake.calls)
        others = [asyncio.create_task(scheduler.submit(A, images(n), INTERACTIVE)) for n in range(1, 7)]
        await until(lambda: scheduler.waiting(INTERACTIVE) == 7)
        fake.gate.set()
        answers = await asyncio.gather(first, *others)
        assert fake.calls == [[0], [1, 2, 3, 4], [5, 6]]
        assert [int(answer[0, 0]) for answer in answers] == list(range(7))

    run(test, FakeClassifier(max_batch=4))


def test_a_large_submission_is_cut_so_that_urgent_images_overtake() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        fake.gate.clear()
        bulk = asyncio.create_task(scheduler.submit(A, images(*range(10, 15)), BULK))
        await until(lambda: fake.calls)
        many = asyncio.create_task(scheduler.submit(A, images(3), MANY))
        live = asyncio.create_task(scheduler.submit(A, images(2), LIVE))
        urgent = asyncio.create_task(scheduler.submit(A, images(1), INTERACTIVE))
        await until(lambda: all(map(scheduler.waiting, (INTERACTIVE, LIVE, MANY))))
        await asyncio.sleep(0.01)
        fake.gate.set()
        await asyncio.gather(bulk, many, live, urgent)
        assert fake.calls == [[10], [1], [2], [3], [11], [12], [13], [14]]

    run(test)


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        fake.gate.clear()
        accepted = asyncio.create_task(scheduler.submit(A, images(1, 2, 3), INTERACTIVE))
        await until(lambda: scheduler.waiting(INTERACTIVE) == 3)
        with pytest.raises(Overloaded) as refused:
            await scheduler.submit(A, images(4, 5), INTERACTIVE)
        assert 1 <= refused.value.retry_after <= 30
        fake.gate.set()
        await accepted
        assert (await scheduler.submit(A, images(4, 5), INTERACTIVE))[:, 0].tolist() == [4, 5]

    run(test, queue_limit=4)


@pytest.mark.parametrize("full", list(Priority))
def test_no_priority_can_take_the_places_of_another(full: Priority) -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        with scheduler.reserve(4, full):
            with pytest.raises(Overloaded):
                scheduler.reserve(1, full).__enter__()
            for other in set(Priority) - {full}:
                assert len(await scheduler.submit(A, images(1, 2, 3, 4), other)) == 4

    run(test, queue_limit=4)


def test_a_reservation_is_given_back_even_after_an_error() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        with pytest.raises(KeyError), scheduler.reserve(4, INTERACTIVE):
            raise KeyError
        assert scheduler.waiting(INTERACTIVE) == 0

    run(test, queue_limit=4)


def test_who_goes_away_takes_its_images_along() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        fake.gate.clear()
        running = asyncio.create_task(scheduler.submit(A, images(1), INTERACTIVE))
        await until(lambda: fake.calls)
        leaving = asyncio.create_task(scheduler.submit(A, images(2, 3), INTERACTIVE))
        await until(lambda: scheduler.waiting(INTERACTIVE) == 3)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert scheduler.waiting(INTERACTIVE) == 1
        fake.gate.set()
        await running
        await scheduler.submit(A, images(4), INTERACTIVE)
        assert fake.calls == [[1], [4]]

    run(test)


def test_a_failing_call_fails_its_callers_and_nobody_else() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        fake.error = RuntimeError("broken")
        with pytest.raises(RuntimeError, match="broken"):
            await scheduler.submit(A, images(1, 2), INTERACTIVE)
        fake.error = None
        assert len(await scheduler.submit(A, images(3), INTERACTIVE)) == 1
        assert scheduler.alive and scheduler.waiting(INTERACTIVE) == 0

    run(test)


def test_closing_finishes_what_was_accepted_and_takes_nothing_more() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        fake.gate.clear()
        accepted = asyncio.create_task(scheduler.submit(A, images(1, 2, 3), INTERACTIVE))
        await until(lambda: fake.calls)
        closing = asyncio.create_task(scheduler.close())
        await asyncio.sleep(0)
        with pytest.raises(Closed):
            await scheduler.submit(A, images(9), INTERACTIVE)
        fake.gate.set()
        assert (await accepted)[:, 0].tolist() == [1, 2, 3]
        await closing

    run(test)


def test_a_variant_is_loaded_once_however_many_ask_at_once() -> None:
    loads: list[Variant] = []

    async def main() -> None:
        scheduler = Scheduler(lambda variant: loads.append(variant) or FakeClassifier(), lanes=2)  # type: ignore[func-returns-value]
        await asyncio.gather(*(scheduler.submit(A, images(n), INTERACTIVE) for n in range(8)))
        await scheduler.close()

    asyncio.run(main())
    assert loads == [A]


def test_a_failed_load_is_tried_again() -> None:
    attempts = iter([OSError("no memory"), FakeClassifier()])

    def load(_: Variant) -> FakeClassifier:
        outcome = next(attempts)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def main() -> None:
        scheduler = Scheduler(load, lanes=1)
        with pytest.raises(OSError, match="no memory"):
            await scheduler.submit(A, images(1), INTERACTIVE)
        assert len(await scheduler.submit(A, images(1), INTERACTIVE)) == 1
        await scheduler.close()

    asyncio.run(main())


def test_the_least_recently_used_variant_goes_when_memory_asks() -> None:
    async def main() -> None:
        scheduler = Scheduler(lambda _: FakeClassifier(memory_bytes=10), lanes=1, memory_budget=25)
        for variant in (A, B, A, C):
            await scheduler.submit(variant, images(1), INTERACTIVE)
        assert scheduler.loaded == [A, C]
        await scheduler.close()

    asyncio.run(main())


def test_a_variant_at_work_is_never_dropped() -> None:
    fakes = {A: FakeClassifier(memory_bytes=10), B: FakeClassifier(memory_bytes=10)}

    async def main() -> None:
        scheduler = Scheduler(fakes.__getitem__, lanes=3, memory_budget=15)
        fakes[A].gate.clear()
        at_work = asyncio.create_task(scheduler.submit(A, images(7, 8), INTERACTIVE))
        await until(lambda: fakes[A].calls)
        await scheduler.submit(B, images(1), INTERACTIVE)
        assert set(scheduler.loaded) == {A, B}
        fakes[A].gate.set()
        assert (await at_work)[:, 0].tolist() == [7, 8]
        await scheduler.close()

    asyncio.run(main())


def test_every_call_is_reported() -> None:
    reports: list[Inference] = []

    async def main() -> None:
        scheduler = Scheduler(lambda _: FakeClassifier(max_batch=2), lanes=1, on_inference=reports.append)
        await scheduler.submit(A, images(1, 2, 3), INTERACTIVE)
        await scheduler.close()

    asyncio.run(main())
    assert sorted(report.images for report in reports) == [1, 2] and all(r.variant == A for r in reports)


def test_submissions_that_do_not_fit_together_fail_and_the_lane_lives() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        fake.gate.clear()
        first = asyncio.create_task(scheduler.submit(A, images(0), INTERACTIVE))
        await until(lambda: fake.calls)
        wide = np.zeros((1, 1, 2, 3), np.uint8)
        pair = [asyncio.create_task(scheduler.submit(A, pixels, INTERACTIVE)) for pixels in (images(1), wide)]
        await until(lambda: scheduler.waiting(INTERACTIVE) == 3)
        fake.gate.set()
        await first
        outcomes = await asyncio.gather(*pair, return_exceptions=True)
        assert all(isinstance(outcome, ValueError) for outcome in outcomes) and scheduler.alive

    run(test, FakeClassifier(max_batch=8))


def test_closing_waits_for_images_that_are_still_being_decoded() -> None:
    async def main() -> None:
        scheduler = Scheduler(lambda _: FakeClassifier(), lanes=2)
        with scheduler.reserve(1, INTERACTIVE):
            closing = asyncio.create_task(scheduler.close())
            await asyncio.sleep(0.01)
            assert not closing.done()
            assert len(await scheduler.run(A, images(1), INTERACTIVE)) == 1
        await closing
        with pytest.raises(Closed):
            await scheduler.run(A, images(1), INTERACTIVE)

    asyncio.run(main())


def test_places_can_be_changed_and_a_refusal_leaves_them_as_they_were() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        with scheduler.reserve(1, INTERACTIVE) as places:
            places.resize(4)
            with pytest.raises(Overloaded):
                places.resize(5)
            assert scheduler.waiting(INTERACTIVE) == 4
            places.resize(2)
            assert scheduler.waiting(INTERACTIVE) == 2
        assert scheduler.waiting(INTERACTIVE) == 0

    run(test, queue_limit=4)


def test_no_images_are_no_submission() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        with pytest.raises(ValueError, match="no image"):
            await scheduler.submit(A, images(), INTERACTIVE)

    run(test)


def test_a_device_that_is_lost_ends_the_lane_and_what_waits_is_told() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        fake.error = DeviceLost("gone")
        fake.gate.clear()
        works = [asyncio.create_task(scheduler.submit(A, images(value), INTERACTIVE)) for value in (1, 2, 3)]
        await until(lambda: fake.calls)
        await asyncio.sleep(0.05)
        fake.gate.set()
        outcomes = await asyncio.gather(*works, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeviceLost] * 3 and fake.calls == [[1]]
        await until(lambda: not scheduler.alive)
        with pytest.raises(Closed, match="has died"):
            await scheduler.submit(A, images(4), INTERACTIVE)

    run(test)


def test_where_memory_is_wanting_what_is_idle_goes_and_it_is_tried_once_more() -> None:
    held: list[Variant] = []

    def load(variant: Variant) -> FakeClassifier:
        held.append(variant)
        if variant == C or (variant == B and held.count(B) == 1):
            raise MemoryError("no room")
        return FakeClassifier()

    async def main() -> None:
        scheduler = Scheduler(load, lanes=1)
        try:
            await scheduler.submit(A, images(1), INTERACTIVE)
            await scheduler.submit(B, images(1), INTERACTIVE)
            assert scheduler.loaded == [B] and held == [A, B, B]
            with pytest.raises(MemoryError):
                await scheduler.submit(C, images(1), INTERACTIVE)
        finally:
            await scheduler.close()

    asyncio.run(main())


def test_one_that_is_closed_holds_no_classifier() -> None:
    """Who keeps the scheduler, as a web framework's caches do, must not keep its networks by that."""

    async def main() -> tuple[Scheduler, weakref.ref[FakeClassifier]]:
        scheduler = Scheduler(lambda _: FakeClassifier(), lanes=1)
        await scheduler.submit(A, images(1), INTERACTIVE)
        loaded = weakref.ref(scheduler._loaded[A])
        assert loaded() is not None
        await scheduler.close()
        return scheduler, loaded

    kept, classifier = asyncio.run(main())
    gc.collect()
    assert kept.loaded == [] and classifier() is None


# -- slow ones, as detectors are -------------------------------------------------------------------------------------


def with_slow(
    lanes: int, test: Callable[[Scheduler, dict[Variant, FakeClassifier]], object], slow_batch: int = 1
) -> None:
    """Runs it on a scheduler of two variants, of which B is slow: its gate is closed."""
    fakes = {A: FakeClassifier(), B: FakeClassifier(max_batch=slow_batch)}
    fakes[B].gate.clear()

    async def main() -> None:
        scheduler = Scheduler(fakes.__getitem__, lanes=lanes, slow=lambda variant: variant == B)
        try:
            async with asyncio.timeout(20):
                await test(scheduler, fakes)  # type: ignore[misc]
        finally:
            fakes[B].gate.set()
            await scheduler.close()

    asyncio.run(main())


@pytest.mark.parametrize("lanes", [2, 4])
def test_slow_work_leaves_a_lane_to_others_however_much_of_it_waits(lanes: int) -> None:
    async def test(scheduler: Scheduler, fakes: dict[Variant, FakeClassifier]) -> None:
        slow = [asyncio.create_task(scheduler.submit(B, images(n), LIVE)) for n in range(6)]
        await until(lambda: len(fakes[B].calls) == lanes - 1)
        for priority in Priority:  # also what is less urgent than the slow work
            assert len(await scheduler.submit(A, images(7, 8), priority)) == 2
        assert len(fakes[B].calls) == lanes - 1
        fakes[B].gate.set()
        answers = await asyncio.gather(*slow)
        assert [int(answer[0, 0]) for answer in answers] == list(range(6))

    with_slow(lanes, test)


def test_on_a_single_lane_slow_work_takes_its_turn() -> None:
    async def test(scheduler: Scheduler, fakes: dict[Variant, FakeClassifier]) -> None:
        fakes[B].gate.set()
        fakes[A].gate.clear()
        first = asyncio.create_task(scheduler.submit(A, images(0), LIVE))
        await until(lambda: fakes[A].calls)
        slow = asyncio.create_task(scheduler.submit(B, images(1), LIVE))
        await until(lambda: scheduler.waiting(LIVE) == 2 and B in scheduler.loaded)
        await asyncio.sleep(0.01)
        later = asyncio.create_task(scheduler.submit(A, images(2), BULK))
        slow.add_done_callback(lambda _: order.append("slow"))
        later.add_done_callback(lambda _: order.append("later"))
        await until(lambda: scheduler.waiting(BULK) == 1)
        await asyncio.sleep(0.01)
        fakes[A].gate.set()
        await asyncio.gather(first, slow, later)
        assert order == ["slow", "later"]

    order: list[str] = []
    with_slow(1, test)


def test_slow_frames_that_wait_together_share_a_call() -> None:
    async def test(scheduler: Scheduler, fakes: dict[Variant, FakeClassifier]) -> None:
        first = asyncio.create_task(scheduler.submit(B, images(0), LIVE))
        await until(lambda: fakes[B].calls)
        others = [asyncio.create_task(scheduler.submit(B, images(n), LIVE)) for n in range(1, 4)]
        await until(lambda: scheduler.waiting(LIVE) == 4)
        await asyncio.sleep(0.01)
        fakes[B].gate.set()
        await asyncio.gather(first, *others)
        assert fakes[B].calls == [[0], [1, 2, 3]]

    with_slow(2, test, slow_batch=4)


def test_a_device_that_is_lost_is_told_to_slow_work_too() -> None:
    async def test(scheduler: Scheduler, fakes: dict[Variant, FakeClassifier]) -> None:
        fakes[B].error = DeviceLost("gone")
        slow = [asyncio.create_task(scheduler.submit(B, images(n), LIVE)) for n in range(3)]
        await until(lambda: fakes[B].calls and scheduler.waiting(LIVE) == 3)
        fakes[B].gate.set()
        outcomes = await asyncio.gather(*slow, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeviceLost] * 3

    with_slow(2, test)


# -- a device that takes batches: pixels are made beside the lanes ---------------------------------------------------


def maker(value: int, made: list[int], gate: threading.Event | None = None) -> Callable[[], Pixels]:
    """Makes one image, and notes that it does."""

    def make() -> Pixels:
        made.append(value)
        assert gate is None or gate.wait(10)
        return images(value)[0]

    return make


def test_pixels_of_urgent_images_are_made_first() -> None:
    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        gate, made = threading.Event(), list[int]()
        works = [asyncio.create_task(scheduler.run_made(A, maker(0, made, gate), BULK))]
        await until(lambda: made)
        for value, priority in ((1, BULK), (2, BULK), (3, MANY), (4, LIVE), (5, INTERACTIVE)):
            works.append(asyncio.create_task(scheduler.run_made(A, maker(value, made), priority)))
        for _ in range(10):
            await asyncio.sleep(0)
        works[2].cancel()  # who goes away takes its image along
        await asyncio.sleep(0.01)
        gate.set()
        answers = await asyncio.gather(*works, return_exceptions=True)
        assert made == [0, 5, 4, 3, 1]
        assert [int(answer[0]) for n, answer in enumerate(answers) if n != 2] == [0, 1, 3, 4, 5]  # type: ignore[index]

    run(test, FakeClassifier(max_batch=8), makers=1)


def test_what_fails_to_be_made_fails_its_caller_alone() -> None:
    def fails() -> Pixels:
        raise OSError("no picture")

    async def test(scheduler: Scheduler, fake: FakeClassifier) -> None:
        with pytest.raises(OSError, match="no picture"):
            await scheduler.run_made(A, fails, INTERACTIVE)
        assert (await scheduler.run_made(A, maker(3, []), INTERACTIVE))[0] == 3

    run(test, FakeClassifier(max_batch=8), makers=1)


def test_loading_keeps_no_thread_from_those_who_make_pixels_nor_they_from_it() -> None:
    loading, go_on, fake = list[Variant](), threading.Event(), FakeClassifier(max_batch=8)

    def load(variant: Variant) -> FakeClassifier:
        loading.append(variant)
        assert variant == A or go_on.wait(10)
        return fake

    async def main() -> None:
        scheduler, made = Scheduler(load, lanes=1, makers=1), list[int]()
        try:
            async with asyncio.timeout(20):
                await scheduler.run_made(A, maker(1, made), INTERACTIVE)
                others = [asyncio.create_task(scheduler.run_made(v, maker(2, made, go_on), BULK)) for v in (B, C)]
                await until(lambda: len(loading) == 3)
                assert (await scheduler.run_made(A, maker(3, made), INTERACTIVE))[0] == 3
                go_on.set()
                await asyncio.gather(*others)
                assert made == [1, 3, 2, 2]
        finally:
            go_on.set()
            await scheduler.close()

    asyncio.run(main())
