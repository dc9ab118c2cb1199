"""Pruning: zeros come by the schedule and stay, runs go on as if never stopped, artefacts are really smaller."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from PIL import Image

from contract.transform import TransformSpec
from inference.artefacts import Artefact, ArtefactStore
from inference.catalogue import BY_NAME
from inference.choice import ModelMissing
from inference.classifier import check_golden, golden_pixels
from inference.ir import read_network
from inference.labelled import BadData
from inference.openvino_classifier import OpenVinoClassifier
from inference.torch_classifier import Normalised, TorchClassifier
from modelzoo.finetune import Checkpoint, FineTuning, Progress, Settings, Stopped, layers_of, sparsities
from modelzoo.material import Batches, Material, Pictures, labelled, to_judge, unlabelled
from modelzoo.photographs import NoPhotographs, Photographs
from modelzoo.prune import KEPT, Watch, _Compared, prune
from tests import tiny

MODEL = BY_NAME["resnet18-seeded"]
SMALL = TransformSpec(resize=40, crop=32)
SETTINGS = Settings(sparsity=0.6, steps=8, batch=4, learning_rate=1e-2, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of noise in three classes, each of its own colour."""
    path = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(12):
        (path / str(number % 3)).mkdir(exist_ok=True)
        noise = random.integers(0, 128, (60, 80, 3), dtype=np.uint8)
        noise[..., number % 3] += 120
        Image.fromarray(noise).save(path / str(number % 3) / f"{number:02d}.png")
    return path


@pytest.fixture
def material(folder: Path) -> Material:
    return labelled(folder, None, 0.25, ("red", "green", "blue"))


def network(seed: int = 1) -> Normalised:
    """Small, and of all that matters: convolutions, one of them depthwise, BatchNorm, a linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, stride=4), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 16, 3, groups=16), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(576, 3),
        )  # fmt: skip
    return Normalised(layers, SMALL).eval()


def fine_tuning(settings: Settings = SETTINGS) -> FineTuning:
    return FineTuning(network(), network(), SMALL, settings)


def run(
    tuning: FineTuning, material: Material, kept: Checkpoint, stop: Callable[[], bool] = lambda: False
) -> list[Progress]:
    told: list[Progress] = []
    tuning.run(material, SMALL, kept, told.append, stop)
    return told


def checkpoint(path: Path, material: Material, settings: Settings = SETTINGS) -> Checkpoint:
    return Checkpoint(path / KEPT / "small", "sha256", material, settings)


@pytest.mark.parametrize("steps", [1, 2, 5, 33, 300, 5000])
def test_the_schedule_is_the_cubic_and_ends_at_the_target(steps: int) -> None:
    table = sparsities(replace(SETTINGS, steps=steps))
    shares = list(table.values())
    assert shares == sorted(shares) and shares[-1] == pytest.approx(0.6) and list(table) == sorted(table)
    assert min(table) == 0 and max(table) < steps
    if steps == 300:
        assert len(table) == 21 and max(table) == 180
        assert table[90] == pytest.approx(0.6 * (1 - 0.5**3))


def test_zeros_come_by_the_schedule_and_stay_while_the_rest_learns(material: Material, tmp_path: Path) -> None:
    tuning = fine_tuning()
    before = network().state_dict()
    told = run(tuning, material, checkpoint(tmp_path, material))
    assert [one.step for one in told] == list(range(1, 9))
    for one in told:
        due = [share for step, share in sparsities(SETTINGS).items() if step < one.step][-1]
        assert one.sparsity == pytest.approx(due, abs=0.001)
    after = tuning.weights()
    layers = layers_of(after)
    assert {layer.name for layer in layers} == {"network.0", "network.3", "network.7"}
    zeros, weights = (sum(getattr(layer, kind) for layer in layers) for kind in ("zeros", "weights"))
    assert weights == 3 * 16 * 9 + 16 * 9 + 576 * 3 and zeros == pytest.approx(0.6 * weights, abs=1)
    moved = (after["network.7.weight"] != 0) & (after["network.7.weight"] != before["network.7.weight"])
    assert moved.sum() > 50
    assert (after["network.1.running_mean"] == before["network.1.running_mean"]).all()


def test_zeros_stay_after_the_last_update(material: Material, tmp_path: Path) -> None:
    tuning, seen = fine_tuning(), []
    tuning.run(
        material,
        SMALL,
        checkpoint(tmp_path, material),
        lambda _: seen.append(tuning.weights()["network.7.weight"] == 0),
    )
    last = max(sparsities(SETTINGS))
    assert len(seen) - last >= 3 and all((zeros == seen[last]).all() for zeros in seen[last:])


@pytest.mark.parametrize(("share", "most"), [(0.0, 0.5), (1.0, 0.9)])
def test_it_learns_from_labels_or_from_the_dense_network(
    material: Material, tmp_path: Path, share: float, most: float
) -> None:
    settings = replace(SETTINGS, steps=60, batch=9, distillation=share, sparsity=0.3)
    told = run(fine_tuning(settings), material, checkpoint(tmp_path, material))
    early, late = (np.mean([one.loss for one in told[part]]) for part in (slice(8, 20), slice(-12, None)))
    assert late < early * most, (early, late)


def test_both_are_taken_in_their_shares_and_without_labels_there_is_one(material: Material, tmp_path: Path) -> None:
    def loss(share: float, of: Material = material) -> float:
        settings = replace(SETTINGS, steps=1, distillation=share)
        return run(fine_tuning(settings), of, checkpoint(tmp_path, of))[0].loss

    bare = replace(material, train=Pictures(material.train.files))
    labels, dense = loss(0.0), loss(1.0)
    assert labels > 0 and dense > 0 and labels != pytest.approx(dense, rel=0.1)
    assert loss(0.25) == pytest.approx(0.75 * labels + 0.25 * dense, rel=1e-5)
    assert loss(0.25, bare) == pytest.approx(dense, rel=1e-5)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(material: Material, tmp_path: Path) -> None:
    whole = fine_tuning()
    run(whole, material, checkpoint(tmp_path, material))
    kept, first = checkpoint(tmp_path, material), fine_tuning()
    with pytest.raises(Stopped, match="after 4 of 8 steps"):
        run(first, material, kept, stop=lambda: first.step == 4)
    state = kept.load()
    assert state is not None
    second = fine_tuning()
    second.go_on(state)
    assert [one.step for one in run(second, material, kept)] == [5, 6, 7, 8]
    for name, value in whole.weights().items():
        assert torch.equal(value, second.weights()[name]), name


def test_another_run_is_not_taken_for_this_one_and_a_damaged_one_for_none(material: Material, tmp_path: Path) -> None:
    kept, tuning = checkpoint(tmp_path, material), fine_tuning()
    kept.save(tuning)
    assert kept.load() is not None
    other = replace(material, train=Pictures(material.train.files[1:], material.train.classes[1:]))
    assert checkpoint(tmp_path, other).load() is None
    assert checkpoint(tmp_path, material, replace(SETTINGS, seed=4)).load() is None
    (path,) = (tmp_path / KEPT / "small").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    assert kept.load() is None


def test_a_picture_replaced_under_its_name_is_another(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "data")
    material = labelled(tmp_path / "data", None, 0.25, ("red", "green", "blue"))
    checkpoint(tmp_path, material).save(fine_tuning())
    assert checkpoint(tmp_path, material).load() is not None
    Image.new("RGB", (60, 80)).save(material.train.files[0])
    assert checkpoint(tmp_path, material).load() is None


def test_a_run_that_ends_leaves_what_another_has_kept(material: Material, tmp_path: Path) -> None:
    long, short = (checkpoint(tmp_path, material, replace(SETTINGS, steps=steps)) for steps in (1000, 5))
    for kept in (long, short):
        kept.save(fine_tuning())
    short.sweep()
    assert short.load() is None and long.load() is not None
    long.sweep()
    assert not (tmp_path / KEPT).exists()


def test_the_last_steps_are_kept_too(material: Material, tmp_path: Path) -> None:
    kept, tuning = checkpoint(tmp_path, material), fine_tuning()
    run(tuning, material, kept)
    state = kept.load()
    assert state is not None and state["step"] == SETTINGS.steps
    tuning.go_on(state)
    assert run(tuning, material, kept) == []


def test_a_full_disk_is_an_oserror_and_keeps_the_older_state(material: Material, full_disk: Path) -> None:
    kept, tuning = checkpoint(full_disk, material), fine_tuning()
    kept.save(tuning)
    (full_disk / "rest").write_bytes(b"x" * (5_000_000 - 200_000))

    def save_many() -> None:
        for number in range(100):
            checkpoint(full_disk, material, replace(SETTINGS, seed=number)).save(tuning)

    with pytest.raises(OSError, match="No space left"):
        save_many()
    assert kept.load() is not None and not list(full_disk.rglob("*.part"))


def test_batches_are_each_picture_once_an_epoch_and_the_same_every_time(material: Material) -> None:
    batches = Batches(material.train, SMALL, 3, seed=5)
    first, again = list(batches.between(0, 6)), list(batches.between(2, 6))
    assert first[0][0].shape == (3, 32, 32, 3) and first[0][0].dtype == np.uint8
    for (pixels, classes), (others, theirs) in zip(first[2:], again, strict=True):
        assert (pixels == others).all() and (classes == theirs).all()
    epoch = np.concatenate([classes for _, classes in first[:3]])
    assert sorted(epoch.tolist()) == sorted(material.train.classes)
    assert not (first[0][0] == first[3][0]).all()


def test_what_is_trained_on_never_judges(folder: Path, material: Material, tmp_path: Path) -> None:
    assert len(material.train.files) == 9 and len(material.validation.files) == 3
    assert not set(material.train.files) & set(material.validation.files)
    with pytest.raises(BadData, match="is in both"):
        labelled(folder, folder, 0.1, ("a", "b", "c"))
    with pytest.raises(BadData, match="too few"):
        labelled(folder, None, 0.01, ("a", "b", "c"))
    shutil.copytree(folder, tmp_path / "other")
    assert len(labelled(folder, tmp_path / "other", 0.1, ("a", "b", "c")).validation.files) == 12


def test_one_picture_less_moves_at_most_one_other(folder: Path, tmp_path: Path) -> None:
    def judges(data: Path) -> set[str]:
        return {path.name for path in labelled(data, None, 0.25, ("a", "b", "c")).validation.files}

    before = judges(folder)
    for path in sorted(folder.rglob("*.png")):
        shutil.copytree(folder, tmp_path / path.stem)
        (tmp_path / path.stem / path.relative_to(folder)).unlink()
        assert len(judges(tmp_path / path.stem) ^ (before - {path.name})) <= 1


def test_numbers_that_are_none_are_not_taken_for_agreement() -> None:
    compared = _Compared()
    compared.add(np.ones((1, 3), np.float32), np.array([[1, np.nan, 1]], np.float32), np.array([], np.int64))
    compared.add(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32), np.array([], np.int64))
    agreement = compared.agreement()
    assert np.isnan([agreement.max_logit_difference, agreement.max_probability_difference]).all()


def test_a_broken_picture_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "broken")
    broken = tmp_path / "broken" / "0" / "00.png"
    broken.write_bytes(b"no picture")
    pictures = Pictures((broken,), (0,))
    with pytest.raises(BadData, match=r"00\.png.*Take it out"):
        list(to_judge(pictures, SMALL, 10))
    with pytest.raises(NoPhotographs, match=r"00\.png.*take it out"):
        list(Batches(pictures, SMALL, 1, 0).between(0, 1))


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, dict[str, Any]]:
    """The tiny network, pruned without labels by the whole way; and the torch network that it was made of."""
    root = tmp_path_factory.mktemp("models")
    tiny.build_tiny(root)
    files = tuple(sorted(folder.rglob("*.png")))
    material = unlabelled(Photographs(files[:8], files[8:], "pictures of noise"))
    seen: dict[str, Any] = {}
    original = FineTuning.weights

    def weights(tuning: FineTuning) -> dict[str, torch.Tensor]:
        seen["weights"] = original(tuning)
        return seen["weights"]  # type: ignore[no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuning, "weights", weights)
        patch.setattr("modelzoo.prune.build_network", tiny.build_network)
        settings = Settings(sparsity=0.5, steps=2, batch=1)
        artefact = prune(MODEL, ArtefactStore(root), material, settings, judged=4)
    return artefact, seen["weights"]


def test_the_artefact_answers_as_the_masked_network_in_torch(made: tuple[Artefact, dict[str, Any]]) -> None:
    artefact, weights = made
    reference = tiny.build_network(MODEL, None)
    reference.load_state_dict(weights)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    theirs, ours = TorchClassifier(reference, MODEL.transform)(pixels), OpenVinoClassifier(artefact)(pixels)
    assert np.abs(ours - theirs).max() < 1e-3
    check_golden(artefact, OpenVinoClassifier(artefact)(golden_pixels(artefact)))


def test_the_zeros_are_in_the_artefact_and_make_it_smaller(made: tuple[Artefact, dict[str, Any]]) -> None:
    artefact, _ = made
    constants = [
        node.data
        for node in read_network(ov.Core(), artefact.folder).get_ops()
        if node.get_type_name() == "Constant" and node.data.size > 1000
    ]
    zeros = sum(int((data == 0).sum()) for data in constants) / sum(data.size for data in constants)
    pruning = artefact.card.pruning
    assert pruning is not None and pruning.sparsity == pytest.approx(0.5, abs=1e-4)
    assert zeros == pytest.approx(0.5, abs=0.01)
    assert artefact.card.size_bytes < 0.65 * pruning.dense_bytes
    assert pruning.zipped_bytes < 0.7 * pruning.dense_zipped_bytes
    assert pruning.loaded_bytes == pytest.approx(4 * sum(layer.weights for layer in pruning.layers), rel=0.01)


def test_the_card_says_how_and_how_well(made: tuple[Artefact, dict[str, Any]]) -> None:
    card = made[0].card
    assert card.precision == "pruned" and card.pruning is not None
    assert [(score.part, score.images, score.dense) for score in card.pruning.scores] == [
        ("train", 4, None), ("validation", 4, None),
    ]  # fmt: skip
    assert card.pruning.scores[1].agreement.share == card.agreement.top1 and card.agreement.images == 4
    assert card.pruning.data == "8 pictures of noise, 4 others held out"
    assert card.pruning.settings["steps"] == 2 and card.pruning.time_ratio > 0
    assert len(card.pruning.layers) == 2 and not list(made[0].folder.parent.parent.glob(f"{KEPT}*"))


def test_a_network_that_is_not_there_or_of_other_weights_is_refused(
    efficientnet: Artefact, material: Material, tmp_path: Path
) -> None:
    store = ArtefactStore(tmp_path)
    with pytest.raises(ModelMissing, match="models build resnet18-seeded"):
        prune(MODEL, store, material, SETTINGS)
    shutil.copytree(efficientnet.folder, tmp_path / "efficientnet_lite0" / "fp32")
    origin = replace(efficientnet.card.origin, sha256="0" * 64)
    replace(efficientnet.card, origin=origin).write(tmp_path / "efficientnet_lite0" / "fp32")
    with pytest.raises(ModelMissing, match="made of other weights"):
        prune(BY_NAME["efficientnet_lite0"], store, material, SETTINGS, watch=Watch())
