"""Tracks: things keep their numbers while they move and while they are out of sight, and labels stop to flicker."""

import numpy as np
import pytest

from inference.tracks import STEADY_CROPS, UNSEEN_FRAMES, Tracks

NOTHING = np.zeros((0, 4)), np.zeros((0, 3))
CUP, BOWL = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.4, 0.3])


def at(*places: float) -> np.ndarray:
    """A box of a tenth of the frame at each place."""
    return np.array([[place, 0.4, place + 0.1, 0.5] for place in places])


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
