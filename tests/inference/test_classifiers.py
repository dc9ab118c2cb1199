"""The OpenVINO classifier against the torch reference, on the real artefacts."""

import csv
import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from contract.transform import Pixels, TransformSpec, to_pixels
from inference.artefacts import Artefact, DamagedArtefact
from inference.catalogue import BY_NAME
from inference.classifier import WrongAnswer, check_golden, golden_pixels, softmax, top_k
from inference.openvino_classifier import OpenVinoClassifier
from inference.torch_classifier import TorchClassifier
from modelzoo.networks import build_network
from modelzoo.weights import obtain
from tests import pictures

SPEC = TransformSpec()


def torch_reference(name: str) -> TorchClassifier:
    model = BY_NAME[name]
    return TorchClassifier(build_network(model, obtain(model, None, Path("unused"))), model.transform)


def noise(count: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["resnet18-seeded", "efficientnet_lite0"])
def test_logits_are_torchs_within_a_thousandth(name: str, seeded: Artefact, efficientnet: Artefact) -> None:
    artefact = {"resnet18-seeded": seeded, "efficientnet_lite0": efficientnet}[name]
    pixels = np.concatenate([noise(3), golden_pixels(artefact)])
    ours, theirs = OpenVinoClassifier(artefact)(pixels), torch_reference(name)(pixels)
    assert ours.shape == theirs.shape == (4, 1000) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1e-3
    assert theirs.std(axis=0).max() > 0, "the pictures must not all have the same answer"


def test_an_answer_does_not_depend_on_its_neighbours(efficientnet: Artefact) -> None:
    classifier, pixels = OpenVinoClassifier(efficientnet), noise(9)
    alone = np.concatenate([classifier(image[None]) for image in pixels])
    assert np.array_equal(alone, classifier(pixels))


def test_many_threads_at_once_get_their_own_answers(seeded: Artefact) -> None:
    classifier, pixels = OpenVinoClassifier(seeded, threads=2), noise(6)
    expected, wrong = classifier(pixels), []

    def ask(number: int) -> None:
        answers = [classifier(pixels[number][None])[0] for _ in range(5)]
        wrong.extend(number for answer in answers if not np.array_equal(answer, expected[number]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 224, 224, 3), np.float32),
        np.zeros((224, 224, 3), np.uint8),
        np.zeros((1, 3, 224, 224), np.uint8),
        np.zeros((1, 223, 224, 3), np.uint8),
        np.zeros((0, 224, 224, 3), np.uint8),
    ],
)
def test_other_shapes_and_types_are_refused(pixels: Pixels, seeded: Artefact) -> None:
    for classifier in (OpenVinoClassifier(seeded), torch_reference("resnet18-seeded")):
        with pytest.raises(ValueError, match="expected uint8"):
            classifier(pixels)


def test_a_damaged_artefact_does_not_load(seeded: Artefact, tmp_path: Path) -> None:
    for path in seeded.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.bin"
    damaged = bytearray(weights.read_bytes())
    damaged[1000] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(DamagedArtefact, match=r"model\.bin.*--force"):
        OpenVinoClassifier(Artefact(tmp_path, seeded.card))


def test_the_golden_image_gets_its_answer_and_another_model_is_found_out(
    efficientnet: Artefact, seeded: Artefact
) -> None:
    pixels = golden_pixels(efficientnet)
    assert check_golden(efficientnet, OpenVinoClassifier(efficientnet)(pixels)).label == "espresso"
    with pytest.raises(WrongAnswer, match="espresso"):
        check_golden(efficientnet, OpenVinoClassifier(seeded)(pixels))


def test_a_probability_that_is_off_is_a_wrong_answer(efficientnet: Artefact) -> None:
    logits = OpenVinoClassifier(efficientnet)(golden_pixels(efficientnet))
    strict = replace(
        efficientnet, card=replace(efficientnet.card, golden=replace(efficientnet.card.golden, tolerance=0))
    )
    with pytest.raises(WrongAnswer):
        check_golden(strict, logits + np.eye(1, 1000, 967, dtype=np.float32))


def test_softmax_adds_up_to_one_even_for_large_logits() -> None:
    assert softmax(np.array([[1000.0, 0, -1000]], np.float32)).tolist() == [[1, 0, 0]]
    assert softmax(noise(2).reshape(2, -1)[:, :50].astype(np.float32)).sum(axis=1) == pytest.approx([1, 1])


def test_top_k_is_sorted_and_names_its_classes() -> None:
    rows = top_k(np.array([0.0, 3, 1, 2], np.float32), ["a", "b", "c", "d"], 3)
    assert [(row.label, row.index) for row in rows] == [("b", 1), ("d", 3), ("c", 2)]
    assert rows[0].probability == pytest.approx(0.6439, abs=1e-4)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_no_answer(wrong: float) -> None:
    with pytest.raises(WrongAnswer, match="not finite"):
        top_k(np.array([0.0, 1, wrong, 2], np.float32), ["a", "b", "c", "d"], 3)


@pytest.mark.samples
def test_same_answers_as_torch_with_torchvisions_transform_on_the_samples(
    samples: Path, efficientnet: Artefact
) -> None:
    """256 photographs: our pixels and network against torchvision's transform and torch."""
    with (samples / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    photographs = [(samples / row["file"]).read_bytes() for row in rows]
    truth = np.array([int(row["index"]) for row in rows])
    ours = np.stack([to_pixels(data, SPEC) for data in photographs])
    theirs = np.stack([torchvision_pixels(data) for data in photographs])
    assert len(rows) == 256 and np.abs(ours.astype(int) - theirs).mean(axis=(1, 2, 3)).max() <= 0.5
    a = OpenVinoClassifier(efficientnet)(ours)
    reference = torch_reference("efficientnet_lite0")
    b = np.concatenate([reference(theirs[start : start + 32]) for start in range(0, 256, 32)])
    assert (a.argmax(1) == b.argmax(1)).sum() >= 253
    assert np.abs(softmax(a) - softmax(b)).max() < 0.05
    assert (a.argmax(1) == truth).sum() >= 189
    assert (np.argsort(-a, axis=1)[:, :5] == truth[:, None]).any(axis=1).sum() >= 229


def torchvision_pixels(data: bytes) -> Pixels:
    transform = Compose([Resize(256, antialias=True), CenterCrop(224)])
    return np.array(transform(Image.open(io.BytesIO(data)).convert("RGB")))


def test_pictures_of_the_page_are_recognised(efficientnet: Artefact) -> None:
    classifier = OpenVinoClassifier(efficientnet)
    found = {}
    for name in ("koala.jpg", "espresso.jpg", "macaw.jpg"):
        logits = classifier(to_pixels(pictures.sample(name), efficientnet.card.transform)[None])[0]
        found[name] = top_k(logits, efficientnet.card.labels, 1)[0].label
    assert found == {"koala.jpg": "koala", "espresso.jpg": "espresso", "macaw.jpg": "macaw"}
