"""A network's files in either form: the same network, and damage that is told."""

from __future__ import annotations

import lzma
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from inference.artefacts import Artefact, DamagedArtefact, sha256_of
from inference.card import FileEntry, read_card
from inference.ir import COMPRESSED_NAME, WEIGHTS_NAME, compress_weights, read_network
from inference.openvino_classifier import OpenVinoClassifier, memory_of
from inference.pruning import Layer, Pruning, Score
from inference.shares import Share

PRUNING = Pruning(
    sparsity=0.5,
    data="nine pictures",
    settings={"sparsity": 0.5, "steps": 3},
    scores=(
        Score("train", 9, None, None, Share(1.0, 0.7, 1.0)),
        Score("validation", 4, Share(0.5, 0.1, 0.9), Share(0.25, 0.0, 0.6), Share(0.75, 0.3, 0.9)),
    ),
    dense_bytes=10,
    dense_zipped_bytes=9,
    zipped_bytes=5,
    loaded_bytes=4_000_000,
    time_ratio=1.0,
    layers=(Layer("conv1", (64, 3, 7, 7), 4704, 9408),),
)


@pytest.fixture(scope="module")
def packed(efficientnet: Artefact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "pruned"
    shutil.copytree(efficientnet.folder, folder)
    compress_weights(folder)
    return folder


@pytest.fixture
def compressed(efficientnet: Artefact, packed: Path, tmp_path: Path) -> Artefact:
    folder = tmp_path / "pruned"
    shutil.copytree(packed, folder)
    files = {path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in folder.iterdir()}
    files.pop("card.json")
    card = replace(efficientnet.card, precision="pruned", files=files, pruning=PRUNING)
    card.write(folder)
    return Artefact(folder, read_card(folder))


def test_both_forms_are_the_same_network(efficientnet: Artefact, compressed: Artefact) -> None:
    assert COMPRESSED_NAME in compressed.card.files and not (compressed.folder / WEIGHTS_NAME).exists()
    packed = (compressed.folder / COMPRESSED_NAME).read_bytes()
    assert lzma.decompress(packed) == (efficientnet.folder / WEIGHTS_NAME).read_bytes()
    ours, theirs = (_constants(artefact.folder) for artefact in (compressed, efficientnet))
    assert len(ours) > 20 and all((one == other).all() for one, other in zip(ours, theirs, strict=True))


def test_a_classifier_takes_either_and_knows_what_it_holds_unpacked(
    efficientnet: Artefact, compressed: Artefact
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    ours, theirs = (OpenVinoClassifier(artefact, threads=1) for artefact in (compressed, efficientnet))
    assert (ours(pixels) == theirs(pixels)).all()
    larger = replace(compressed.card, pruning=replace(PRUNING, loaded_bytes=PRUNING.loaded_bytes + 1_000_000))
    assert memory_of(larger) == ours.memory_bytes + 2_000_000


def test_the_card_keeps_what_was_measured_and_one_without_it_is_read(
    efficientnet: Artefact, compressed: Artefact
) -> None:
    assert compressed.card.pruning == PRUNING
    assert read_card(efficientnet.folder).pruning is None
    text = (compressed.folder / "card.json").read_text()
    assert '"pruning": {' in text
    (compressed.folder / "card.json").write_text(text.replace('"pruning": {', '"elsewhere": {'))
    assert read_card(compressed.folder).pruning is None


def test_damage_is_told_with_the_command_that_mends_it(compressed: Artefact) -> None:
    path = compressed.folder / COMPRESSED_NAME
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedArtefact, match=r"model\.bin\.xz .*ninefold models prune efficientnet_lite0 --force"):
        OpenVinoClassifier(compressed)


def _constants(folder: Path) -> list[np.ndarray]:
    network = read_network(ov.Core(), folder)
    return [node.data for node in network.get_ordered_ops() if node.get_type_name() == "Constant"]
