"""Detectors beside classifiers: the same store, engine and scheduler, another answer."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference import boxes as reading
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.boxes import Detection, boxes_of, check_golden_boxes, detections, match, overlaps
from inference.card import read_card
from inference.catalogue import BY_NAME
from inference.choice import ModelMissing, ModelUnknown, resolve
from inference.classifier import WrongAnswer, golden_pixels
from inference.detectors import DETECTORS, DETECTORS_BY_NAME, resolve_detector
from inference.openvino_classifier import OpenVinoClassifier
from inference.scheduler import Priority, Scheduler
from tests.detectors import FAKE_DETECTOR, SIDE, fake_detector

LABELS = ("cup", "bowl", "spoon")
CUP = Detection((0.125, 0.25, 0.5, 0.75), "cup", 0, 0.875)
SPOON = Detection((0.5, 0.5, 0.75, 1.0), "spoon", 2, 0.625)
FAINT = Detection((0.0, 0.0, 0.25, 0.25), "bowl", 1, 0.25)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return fake_detector(ArtefactStore(tmp_path_factory.mktemp("models")), [CUP, SPOON, FAINT], LABELS)


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def test_the_engine_answers_with_boxes_frame_by_frame(fake: Artefact) -> None:
    answer = OpenVinoClassifier(fake)(frames(3))
    assert answer.shape == (3, 20, 6) and answer.dtype == np.float32
    for one in answer:
        assert detections(one, fake.card.labels, least=0.5) == [CUP, SPOON]
        assert detections(one, fake.card.labels, least=0.0) == [CUP, SPOON, FAINT]
        assert detections(one, fake.card.labels, least=0.0, most=1) == [CUP]


def test_the_scheduler_takes_a_detector_as_it_is(fake: Artefact) -> None:
    async def ask() -> np.ndarray:
        scheduler = Scheduler(lambda _: OpenVinoClassifier(fake, threads=1), lanes=1)
        with scheduler.reserve(1, Priority.LIVE):
            made = await scheduler.run_made(fake.variant, lambda: frames(1)[0], Priority.LIVE)
        many = await scheduler.submit(fake.variant, frames(2), Priority.LIVE)
        await scheduler.close()
        return np.concatenate([made[None], many])

    answer = asyncio.run(ask())
    assert answer.shape == (3, 20, 6)
    assert boxes_of(detections(answer[2], LABELS, 0.5)).tolist() == [list(CUP.box), list(SPOON.box)]


def test_its_card_says_that_it_is_a_fake_and_survives_being_read(fake: Artefact) -> None:
    assert "Fake" in fake.card.title and fake.card.origin.kind == "fake"
    assert read_card(fake.folder) == fake.card
    assert fake.card.boxes == 20 and fake.card.golden.predictions[0].box == CUP.box and fake.card.transform.whole


def test_the_golden_image_gets_its_boxes_and_another_answer_is_found_out(fake: Artefact) -> None:
    answer = OpenVinoClassifier(fake)(golden_pixels(fake))
    assert check_golden_boxes(fake, answer) == CUP
    class_, score, place, no_number = (0, 4, 1.0), (0, 5, 0.8), (0, 2, 0.9), (3, 0, np.nan)
    for row, column, value in (class_, score, place, no_number):
        wrong = answer.copy()
        wrong[0, row, column] = value
        with pytest.raises(WrongAnswer):
            check_golden_boxes(fake, wrong)
    with pytest.raises(WrongAnswer, match="nothing"):
        check_golden_boxes(fake, np.zeros_like(answer))


def test_boxes_in_another_order_are_the_same_answer(fake: Artefact) -> None:
    answer = OpenVinoClassifier(fake)(frames(1))[0]
    assert match(answer[::-1], answer, best=3) == reading.Match(1.0, 0.0, 0.0, 0.0)
    moved = answer.copy()
    moved[0, :4] += 0.01
    moved[1, 5] -= 0.125
    moved[2, 4] = 2
    found = match(moved, answer, best=3)
    assert found.found == pytest.approx(2 / 3) and found.edge_difference == pytest.approx(0.01)
    assert found.score_difference == 0.125 and found.logit_difference == pytest.approx(np.log(0.625 / 0.375))


def test_overlaps_are_intersection_over_union() -> None:
    a, b = np.array([[0, 0, 1, 1], [0, 0, 0, 0]]), np.array([[0.5, 0, 1.5, 1], [2, 2, 3, 3], [0, 0, 0, 0]])
    assert overlaps(a, b) == pytest.approx(np.array([[1 / 3, 0, 0], [0, 0, 0]]))


def test_boxes_end_where_the_frame_does() -> None:
    answer = np.array([[-0.25, 0.5, 0.5, 1.5, 0, 0.9], [1.25, 0, 1.5, 1, 0, 0.8]], np.float32)
    assert [one.box for one in detections(answer, LABELS, least=0.5)] == [(0.0, 0.5, 0.5, 1.0)]
    assert answer[0, 0] == -0.25, "the network's answer is left as it is"


def test_an_answer_without_meaning_is_no_answer() -> None:
    answer = np.zeros((2, 6), np.float32)
    assert detections(answer, LABELS, least=0.0) == []
    answer[0] = (0.5, 0.5, 0.5, 0.9, 0, 0.9)  # without width
    assert detections(answer, LABELS, least=0.0) == []
    for index in (3, -1):
        answer[1] = (0, 0, 1, 1, index, 0.9)
        with pytest.raises(WrongAnswer, match="no name"):
            detections(answer, LABELS, least=0.0)
    answer[1, 0] = np.inf
    with pytest.raises(WrongAnswer, match="not finite"):
        detections(answer, LABELS, least=0.0)


def test_detectors_are_no_classifiers_and_have_twins() -> None:
    assert [d.name for d in DETECTORS] == ["rtdetr_r18", "detr_resnet50", "rtdetr_r18-seeded", "detr_resnet50-seeded"]
    assert not set(DETECTORS_BY_NAME) & set(BY_NAME)
    for detector in DETECTORS:
        assert detector.transform.whole and detector.for_measurements_only == detector.name.endswith("-seeded")
        if not detector.for_measurements_only:
            assert len(detector.source.revision) == 40, "a branch may change under us"


def test_the_detector_is_the_first_that_is_here(fake: Artefact, tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    for name in ("rtdetr_r18-seeded", "detr_resnet50", "rtdetr_r18"):
        (tmp_path / name / "fp32").mkdir(parents=True)
        replace(fake.card, model=name).write(tmp_path / name / "fp32")
        (tmp_path / name / "fp32" / "model.xml").touch()
        expected = {"rtdetr_r18-seeded": None, "detr_resnet50": name, "rtdetr_r18": name}[name]
        if expected:
            assert resolve_detector(store) == Variant(expected, "fp32")
        else:
            with pytest.raises(ModelMissing):
                resolve_detector(store)
    assert resolve_detector(store, "rtdetr_r18-seeded") == Variant("rtdetr_r18-seeded", "fp32")
    assert store.all() == [], "the catalogue of classifiers does not hold them"
    with pytest.raises(ModelUnknown):
        resolve(store, "rtdetr_r18")


def test_random_weights_and_fakes_answer_only_where_they_are_asked_for(fake: Artefact) -> None:
    store = ArtefactStore(fake.folder.parents[1])
    assert resolve_detector(store, FAKE_DETECTOR) == fake.variant
    with pytest.raises(ModelMissing):
        resolve_detector(store)
    with pytest.raises(ModelUnknown):
        resolve_detector(ArtefactStore(store.root / "empty"), FAKE_DETECTOR)


def test_a_classifier_is_no_detector_by_being_named_one(fake: Artefact, tmp_path: Path) -> None:
    (tmp_path / "resnet18" / "fp32").mkdir(parents=True)
    replace(fake.card, model="resnet18", boxes=None).write(tmp_path / "resnet18" / "fp32")
    (tmp_path / "resnet18" / "fp32" / "model.xml").touch()
    with pytest.raises(ModelUnknown):
        resolve_detector(ArtefactStore(tmp_path), "resnet18")


def test_a_detector_that_is_missing_says_why_and_what_adds_it(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    with pytest.raises(ModelMissing, match=r"it has not been built\. The command `ninefold models build rtdetr_r18`"):
        resolve_detector(store)
    store.note_missing("rtdetr_r18", "the hub cannot be reached")
    with pytest.raises(ModelMissing, match="the hub cannot be reached"):
        resolve_detector(store)
    with pytest.raises(ModelUnknown, match="Known detectors: rtdetr_r18, detr_resnet50"):
        resolve_detector(store, "yolo")
