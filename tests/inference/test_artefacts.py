import json
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from inference.artefacts import Artefact, ArtefactStore, DamagedArtefact, Variant
from inference.card import BadCard, read_card
from inference.choice import ModelMissing, ModelUnknown, choose, resolve
from inference.devices import PROGRAM_NAME

ROOT = Path(__file__).parents[2]
LITE = Variant("efficientnet_lite0", "fp32")


def copied(artefact: Artefact, root: Path, model: str, precision: str = "fp32") -> ArtefactStore:
    """A store with the artefact's card and network, by another name: enough to ask what is there."""
    folder = root / model / precision
    folder.mkdir(parents=True)
    for name in ("card.json", "model.xml"):
        shutil.copy(artefact.folder / name, folder)
    return ArtefactStore(root)


def test_a_card_survives_being_written_and_read(efficientnet: Artefact, tmp_path: Path) -> None:
    efficientnet.card.write(tmp_path)
    assert read_card(tmp_path) == efficientnet.card


def test_the_card_tells_what_the_design_asks_for(efficientnet: Artefact) -> None:
    card = efficientnet.card
    assert card.origin.kind == "package" and len(card.origin.sha256) == 64 and card.origin.licence == "Apache-2.0"
    assert len(card.labels) == 1000 and card.labels[1] == "goldfish"
    assert card.size_bytes == sum(
        path.stat().st_size for path in efficientnet.folder.iterdir() if path.name != "card.json"
    )
    assert card.agreement.images == 32 and card.agreement.top1 == 1.0 and card.agreement.max_logit_difference < 1e-3
    assert card.golden.predictions[0].label == "espresso" and card.golden.predictions[0].probability > 0.5
    assert set(card.versions) == {"torch", "torchvision", "openvino", "numpy", "pillow", "python"}


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 1}', '{"format": 99}', ""])
def test_a_damaged_card_says_what_to_do(damage: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(damage)
    with pytest.raises(BadCard, match="Build the model anew"):
        read_card(tmp_path)


def test_what_was_damaged_is_made_anew_for_the_devices_it_was_there_for(efficientnet: Artefact, tmp_path: Path) -> None:
    artefact = copied(efficientnet, tmp_path, LITE.model).get(LITE)
    assert artefact is not None and artefact.remake == "ninefold models build efficientnet_lite0 --force"
    (artefact.folder / "model.bin").write_bytes(b"half")
    with pytest.raises(DamagedArtefact, match="anew: ninefold models build efficientnet_lite0 --force"):
        artefact.verify()
    program = {PROGRAM_NAME: next(iter(artefact.card.files.values()))}
    for_cuda = replace(artefact, card=replace(artefact.card, files=artefact.card.files | program))
    assert for_cuda.remake == "ninefold models build efficientnet_lite0 --device CUDA --force"


def test_a_store_lists_what_is_readable(efficientnet: Artefact, tmp_path: Path) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)
    (tmp_path / "resnet18" / "fp32").mkdir(parents=True)
    (tmp_path / "resnet18" / "fp32" / "card.json").write_text("{")
    assert [artefact.variant for artefact in store.all()] == [LITE]
    assert store.get(Variant("efficientnet_lite0", "int8")) is None


def test_a_failed_publication_leaves_the_old_artefact(efficientnet: Artefact, tmp_path: Path) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)

    def fail(folder: Path) -> None:
        (folder / "model.bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.publish(LITE, fail)
    assert store.get(LITE) is not None
    assert [path.name for path in (tmp_path / LITE.model).iterdir()] == ["fp32"]


def test_a_publication_replaces_the_old_artefact_and_its_missing_note(efficientnet: Artefact, tmp_path: Path) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)
    store.note_missing(LITE.model, "no network")

    def write(folder: Path) -> None:
        efficientnet.card.write(folder)
        (folder / "new").touch()

    assert (store.publish(LITE, write).folder / "new").exists()
    assert store.why_missing(LITE.model) is None
    assert [path.name for path in (tmp_path / LITE.model).iterdir()] == ["fp32"]


def test_a_publication_killed_between_its_renames_is_put_in_order_by_the_next(
    efficientnet: Artefact, tmp_path: Path
) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from inference.artefacts import ArtefactStore, Variant\n"
        "rename = Path.rename\n"
        "def killed(path, target):\n"
        "    rename(path, target)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.rename = killed\n"
        f"ArtefactStore(Path(sys.argv[1])).publish({LITE!r}, lambda folder: (folder / 'new').touch())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL and store.get(LITE) is None, done.stderr

    def fail(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.publish(Variant(LITE.model, "int8"), fail)
    assert store.get(LITE) is not None
    assert [path.name for path in (tmp_path / LITE.model).iterdir()] == ["fp32"]


def test_what_a_killed_publication_left_is_removed_and_what_is_at_work_is_not(
    efficientnet: Artefact, tmp_path: Path
) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)
    left = tmp_path / LITE.model / ".int8-0123abcd"
    left.mkdir()
    (left / "model.bin").write_bytes(b"half")

    def write(folder: Path) -> None:
        assert not left.exists()
        efficientnet.card.write(folder)

    def slow(folder: Path) -> None:
        store.publish(LITE, write)
        store.publish(Variant(LITE.model, "int8"), write)  # another one's, meanwhile, of the same variant
        write(folder)
        (folder / "later").touch()

    assert (store.publish(Variant(LITE.model, "int8"), slow).folder / "later").exists()
    assert sorted(path.name for path in (tmp_path / LITE.model).iterdir()) == ["fp32", "int8"]


def test_an_artefact_that_cannot_be_put_in_place_leaves_the_former_there(
    efficientnet: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        store.publish(LITE, efficientnet.card.write)
    assert store.get(LITE) is not None
    assert [path.name for path in (tmp_path / LITE.model).iterdir()] == ["fp32"]


def test_the_zipped_size_is_what_zip_makes_of_the_files(efficientnet: Artefact, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in efficientnet.card.files:
            archive.write(efficientnet.folder / name, name)
        assert efficientnet.zipped_bytes("CPU") == sum(entry.compress_size for entry in archive.infolist())


def test_the_default_answers_when_it_is_there(efficientnet: Artefact, tmp_path: Path) -> None:
    copied(efficientnet, tmp_path, LITE.model)
    store = copied(efficientnet, tmp_path, "resnet18")
    assert choose(store).variant == Variant("resnet18", "fp32")


def test_the_fallback_answers_and_says_why(efficientnet: Artefact, tmp_path: Path) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)
    store.note_missing("resnet18", "the network is down.")
    choice = choose(store)
    assert choice.variant == LITE
    assert choice.reason == (
        "resnet18, the default, is missing: the network is down. The command `ninefold models build resnet18` adds it."
    )


def test_with_a_model_asked_for_nothing_else_will_do(efficientnet: Artefact, tmp_path: Path) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)
    with pytest.raises(ModelMissing, match="ninefold models build resnet18"):
        choose(store, model="resnet18")
    with pytest.raises(ModelUnknown, match="Known models"):
        choose(store, model="resnet1")


def test_nothing_built_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="ninefold models build"):
        choose(ArtefactStore(tmp_path))


def test_seeded_models_are_never_chosen_and_never_advertised(efficientnet: Artefact, tmp_path: Path) -> None:
    store = copied(efficientnet, tmp_path, "resnet18-seeded")
    with pytest.raises(ModelMissing):
        choose(store)
    with pytest.raises(ModelUnknown) as unknown:
        resolve(store, "nonsense")
    assert "seeded" not in str(unknown.value)


def test_precisions_known_and_unknown(efficientnet: Artefact, tmp_path: Path) -> None:
    store = copied(efficientnet, tmp_path, LITE.model)
    assert resolve(store, LITE.model) == resolve(store, LITE.model, "fp32") == LITE
    with pytest.raises(ModelMissing, match="it is there in fp32"):
        resolve(store, LITE.model, "int8")
    with pytest.raises(ModelUnknown, match="fp33"):
        resolve(store, LITE.model, "fp33")


def test_the_card_is_plain_json(efficientnet: Artefact) -> None:
    data = json.loads((efficientnet.folder / "card.json").read_text())
    assert data["format"] == 1 and data["transform"]["mean"] == [0.485, 0.456, 0.406]
