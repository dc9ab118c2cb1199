"""Tracks: things keep their numbers while they move and while they are out of sight, and labels stop to flicker."""

import logging

import numpy as np
import pytest

from inference.tracks import STEADY_CROPS, UNSEEN_FRAMES, Tracks

NOTHING = np.zeros((0, 4)), np.zeros((0, 3))
CUP, BOWL = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.4, 0.3])


def at(*places: float) -> np.ndarray:
    """A box of a tenth of the frame at each place."""
    return np.array([[place, 0.4, place + 0.1, 0.5] for place in places])


def path(way: str, frame: int) -> np.ndarray:
    """Where a thing is on the 20 frames before it is hidden, and would be later."""
    left, top, right, bottom = {
        "still": (0.3, 0.4, 0.5, 0.6),
        "moving": (0.1 + 0.015 * frame, 0.4, 0.25 + 0.015 * frame, 0.6),
        "falling": (0.3, 0.02 * frame, 0.4, 0.15 + 0.02 * frame),
        "leaving": (0.6 + 0.018 * frame, 0.4, min(1.0, 0.8 + 0.018 * frame), 0.6),
        "shrinking": (0.5 - 0.3 * 0.93**frame, 0.5 - 0.3 * 0.93**frame, 0.5, 0.5),
        "growing": (0.5 - 0.1 * 1.07**frame, 0.5 - 0.1 * 1.07**frame, 0.5, 0.5),
    }[way]
    return np.array([[left, top, right, bottom]])


WAYS = ["still", "moving", "falling", "leaving", "shrinking", "growing"]


def number_of(tracks: Tracks, box: np.ndarray) -> int:
    """That of the only thing on the next frame."""
    return int(tracks.update(box, CUP[None])[0][0])


def frames(tracks: Tracks, count: int) -> None:
    for _ in range(count):
        tracks.update(*NOTHING)


def test_things_keep_their_numbers_while_they_move_whatever_order_they_come_in() -> None:
    tracks, flat = Tracks(), np.full((2, 3), 1 / 3)
    first, _ = tracks.update(at(0.1, 0.7), flat)
    for step in range(1, 20):
        left, right = 0.1 + 0.01 * step, 0.7 - 0.01 * step
        numbers, _ = tracks.update(at(right, left), flat)
        assert numbers.tolist() == first[::-1].tolist()
    assert first[0] != first[1] and len(tracks) == 2


def test_a_track_is_called_what_the_mean_of_its_crops_says() -> None:
    tracks = Tracks()
    seen = [CUP, CUP, BOWL, CUP, BOWL]
    for count, probabilities in enumerate(seen, start=1):
        _, steady = tracks.update(at(0.3), probabilities[None])
        assert steady[0] == pytest.approx(np.mean(seen[:count], axis=0)) and steady.argmax() == 0
    assert {int(p.argmax()) for p in seen} == {0, 1}, "frame by frame the label would flicker"


def test_the_first_crop_is_called_what_it_is_called_alone() -> None:
    given = np.array([0.45, 0.50, 0.05])
    _, steady = Tracks().update(at(0.3), given[None])
    assert steady[0] == pytest.approx(given) and steady[0].argmax() == 1


def test_a_thing_that_is_exchanged_in_its_place_gets_its_new_label_soon_and_once() -> None:
    for life in (3, 60):
        tracks, before, after = Tracks(), np.array([0.9, 0.05, 0.05]), np.array([0.05, 0.05, 0.9])
        for _ in range(life):
            first, _ = tracks.update(at(0.3), before[None])
        labels = []
        for _ in range(2 * STEADY_CROPS):
            number, steady = tracks.update(at(0.3), after[None])
            labels.append(int(steady.argmax()))
            assert number == first and steady.sum() == pytest.approx(1)
        stayed = labels.count(0)
        assert labels == [0] * stayed + [2] * (len(labels) - stayed), "one change"
        assert 2 < stayed < STEADY_CROPS
        assert steady[0] == pytest.approx(after, abs=0.15), "the old name fades"


@pytest.mark.parametrize("run", [1, 2])
@pytest.mark.parametrize("names", [(0, 1), (1, 0)])
def test_two_names_that_take_turns_do_not_make_the_label_flicker(names: tuple[int, int], run: int) -> None:
    """A cup that is a coffee mug on every other frame, or on two of four, and next to surely either time."""
    tracks, labels = Tracks(), []
    for frame in range(60):
        probabilities = np.full(3, 0.02)
        probabilities[names[frame // run % 2]] = 0.96
        _, steady = tracks.update(at(0.3), probabilities[None])
        labels.append(int(steady.argmax()))
    assert set(labels) == {names[0]}


def test_a_thing_that_was_out_of_sight_keeps_number_and_label_until_its_track_ends() -> None:
    for unseen, same in ((1, True), (UNSEEN_FRAMES - 1, True), (UNSEEN_FRAMES, False)):
        tracks = Tracks()
        for _ in range(2):
            before, _ = tracks.update(at(0.3), CUP[None])
        frames(tracks, unseen)
        after, steady = tracks.update(at(0.3), BOWL[None])
        assert (before == after).all() == same
        assert steady[0] == pytest.approx((2 * CUP + BOWL) / 3 if same else BOWL)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("unseen", "same"), [(1, True), (5, True), (UNSEEN_FRAMES - 1, True), (UNSEEN_FRAMES, False)])
def test_a_thing_that_comes_back_where_it_was_found_last_keeps_its_number(way: str, unseen: int, same: bool) -> None:
    tracks = Tracks()
    before = {number_of(tracks, path(way, frame)) for frame in range(20)}
    frames(tracks, unseen)
    assert len(before) == 1
    assert (number_of(tracks, path(way, 19)) in before) == same


@pytest.mark.parametrize("way", ["moving", "falling"])
@pytest.mark.parametrize(("unseen", "same"), [(5, True), (24, True), (UNSEEN_FRAMES - 1, True), (UNSEEN_FRAMES, False)])
def test_a_thing_that_moved_on_while_it_was_hidden_keeps_its_number(way: str, unseen: int, same: bool) -> None:
    tracks = Tracks()
    before = {number_of(tracks, path(way, frame)) for frame in range(20)}
    frames(tracks, unseen)
    assert (number_of(tracks, path(way, 20 + unseen)) in before) == same


def test_a_thing_may_be_hidden_as_often_as_it_likes() -> None:
    tracks, numbers = Tracks(), set()
    for _ in range(5):
        numbers |= {number_of(tracks, at(0.3)) for _ in range(2)}
        frames(tracks, UNSEEN_FRAMES - 1)
    assert len(numbers) == 1


@pytest.mark.parametrize("reach", [0.1, 1.0])
def test_what_passes_in_front_of_a_hidden_thing_takes_neither_its_number_nor_its_place(reach: float) -> None:
    """A cup at 0.4 that is not found while a hand is so near."""
    tracks, hand, known = Tracks(), set(), np.stack([CUP, BOWL])
    cup = {number_of(tracks, at(0.4)) for _ in range(5)}
    for step in range(25):
        place = 0.1 + 0.025 * step
        boxes = at(place) if abs(place - 0.4) < reach else at(place, 0.4)
        numbers, _ = tracks.update(boxes, known[: len(boxes)])
        hand.add(int(numbers[0]))
    assert len(hand) == 1 and not hand & cup
    assert number_of(tracks, at(0.4)) in cup


@pytest.mark.parametrize("apart", [0.03, 0.06, 0.11])
def test_near_things_do_not_change_numbers_while_one_of_them_is_hidden(apart: float) -> None:
    """Side by side, or one half behind the other, at one speed: where one was the other is a few frames later."""
    for speed in (0.0, 0.01, 0.015):
        for missed in (0, 1):
            tracks, known = Tracks(), [CUP, BOWL]
            for step in range(20):
                both = at(0.1 + speed * step, 0.1 + speed * step + apart)
                first, _ = tracks.update(both, np.stack(known))
            for step in range(20, 28):
                both = at(0.1 + speed * step, 0.1 + speed * step + apart)
                seen, _ = tracks.update(both[[1 - missed]], CUP[None])
                assert seen[0] == first[1 - missed], (speed, missed, step)
            numbers, _ = tracks.update(at(0.1 + speed * 28, 0.1 + speed * 28 + apart), np.stack(known))
            assert numbers.tolist() == first.tolist(), (speed, missed)


def test_two_things_that_cross_keep_their_numbers() -> None:
    tracks, known = Tracks(), np.stack([CUP, BOWL])
    seen = []
    for step in range(40):
        left, right = 0.1 + 0.015 * step, 0.7 - 0.015 * step
        boxes = np.array([[left, 0.4, left + 0.15, 0.6], [right, 0.42, right + 0.12, 0.62]])
        if abs(left - right) < 0.05:  # the first is in front of the other
            boxes = boxes[:1]
        seen.append(tracks.update(boxes, known[: len(boxes)])[0].tolist())
    assert seen[0] == seen[-1] and {len(each) for each in seen} == {1, 2}
    assert {each[0] for each in seen} == {seen[0][0]}


@pytest.mark.parametrize("way", WAYS)
def test_the_log_is_left_alone(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Thirty lines a second were in it of a box whose corners had changed places, while another thing was seen."""
    caplog.set_level(logging.DEBUG)
    tracks, known = Tracks(), np.stack([CUP, BOWL])
    for frame in range(20):
        tracks.update(np.vstack([at(0.8), path(way, frame)]), known)
    for _ in range(UNSEEN_FRAMES):
        tracks.update(at(0.8), known[:1])
    assert caplog.records == []


def test_what_ended_is_forgotten_and_what_was_seen_once_ends_soon() -> None:
    tracks = Tracks()
    for _ in range(5):
        tracks.update(at(0.1, 0.3), np.stack([CUP, BOWL]))
    tracks.update(at(0.1, 0.3, 0.8), np.stack([CUP, BOWL, CUP]))
    assert len(tracks) == 3
    frames(tracks, 3)
    assert len(tracks) == 2
    frames(tracks, UNSEEN_FRAMES)
    assert len(tracks) == 0


def test_another_thing_in_another_place_is_another_track() -> None:
    tracks = Tracks()
    first, _ = tracks.update(at(0.1), CUP[None])
    second, steady = tracks.update(at(0.6), BOWL[None])
    assert first != second and steady[0] == pytest.approx(BOWL)


def test_two_sessions_count_for_themselves() -> None:
    one, other = Tracks(), Tracks()
    assert one.update(at(0.1), CUP[None])[0] == other.update(at(0.5), BOWL[None])[0]


def test_boxes_and_classes_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 boxes and the classes of 1"):
        Tracks().update(at(0.1, 0.5), CUP[None])
