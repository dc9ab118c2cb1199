"""Labelled pictures: every layout gives the same classes, and what is not certain is refused in words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from inference import labelled
from inference.artefacts import Artefact
from inference.labelled import BadData, layout_of, read_labelled

FEW = ("tench", "great white shark", "Cardigan", "cardigan", "crane", "crane")


@pytest.fixture
def labels(seeded: Artefact) -> tuple[str, ...]:
    """ImageNet's thousand."""
    return seeded.card.labels


def put(folder: Path, *names: str) -> Path:
    """Empty files: only names are read."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(data: Path, labels: Sequence[str] = FEW) -> list[tuple[str, int]]:
    return [(each.path.name, each.index) for each in read_labelled(data, labels)]


def refusal(data: Path, labels: Sequence[str] = FEW) -> str:
    with pytest.raises(BadData) as caught:
        read_labelled(data, labels)
    return str(caught.value)


# -- a folder per class --------------------------------------------------------------------------------------------


def test_a_folder_is_named_by_wordnet_id_index_or_label(tmp_path: Path, labels: Sequence[str]) -> None:
    put(tmp_path, "n01443537/a.jpg", "2/b.JPEG", "hammerhead/c.png", "electric_ray/d.webp", "SORREL/e.avif")
    assert layout_of(tmp_path) == "folders"
    sorrel = labels.index("sorrel")
    assert sorted(found(tmp_path, labels)) == [
        ("a.jpg", 1), ("b.JPEG", 2), ("c.png", 4), ("d.webp", 5), ("e.avif", sorrel),
    ]  # fmt: skip


def test_wordnet_ids_are_those_of_the_class_in_imagenets_order(tmp_path: Path, labels: Sequence[str]) -> None:
    """Ends and middle, as ImageNet's own list has them."""
    known = {"n01440764": 0, "n02123045": 281, "n03680355": 630, "n07920052": 967, "n15075141": 999}
    put(tmp_path, *(f"{wordnet_id}/x.jpg" for wordnet_id in known))
    assert [each.index for each in read_labelled(tmp_path, labels)] == list(known.values())
    assert (labels[281], labels[967], labels[999]) == ("tabby", "espresso", "toilet tissue")


def test_two_folders_may_be_one_class_and_pictures_may_lie_deeper(tmp_path: Path) -> None:
    put(tmp_path, "0/a.jpg", "tench/images/b.jpg")
    assert found(tmp_path) == [("a.jpg", 0), ("b.jpg", 0)]


def test_hidden_files_and_other_files_are_passed_over_and_pictures_that_will_be_refused_are_not(tmp_path: Path) -> None:
    put(tmp_path, ".DS_Store", ".git/x.jpg", "0/.DS_Store", "0/._a.jpg", "0/.hidden/a.jpg", "0/notes.txt", "README.md")
    assert "holds no picture" in refusal(tmp_path)
    put(tmp_path, "0/a.heic", "0/b.tiff")
    assert found(tmp_path) == [("a.heic", 0), ("b.tiff", 0)]


def test_links_to_pictures_count_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere", "real.jpg")
    data = put(tmp_path / "data", "0/a.jpg")
    (data / "0" / "b.jpg").symlink_to(elsewhere / "real.jpg")
    (data / "0" / "gone.jpg").symlink_to(elsewhere / "gone.jpg")  # its row will be an error
    (data / "0" / "round").symlink_to(data, target_is_directory=True)
    assert found(data) == [("a.jpg", 0), ("b.jpg", 0), ("gone.jpg", 0)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["dinosaur/a.jpg"], ["folder", "dinosaur", "none of the model's classes", "n01440764", "0 to 5", "'tench'"]),
        (["6/a.jpg"], ["'6' is no class index", "0 to 5"]),
        (["crane/a.jpg"], ["'crane' may mean the classes 4 (crane) and 5 (crane)", "Write the index"]),
        (["CARDIGAN/a.jpg"], ["2 (Cardigan) and 3 (cardigan)"]),
        (["n01440764/a.jpg"], ["ImageNet's 1000 classes", "the model has 6"]),
        (["0/a.jpg", "b.jpg"], ["b.jpg lies beside the folders", "Move it"]),
        (["val/0/a.jpg"], ["val is no class", "name it itself"]),
        (["a.jpg", "b.jpg"], ["neither a folder per class nor a labels.csv", "file,index"]),
        (["0/a.txt"], ["holds no picture", ".jpg"]),
    ],
)
def test_what_is_not_certain_is_refused(tmp_path: Path, names: list[str], words: list[str]) -> None:
    said = refusal(put(tmp_path, *names))
    assert all(word in said for word in words), said


def test_the_exact_spelling_decides_between_labels_that_differ_in_case_alone(tmp_path: Path) -> None:
    assert found(put(tmp_path, "Cardigan/a.jpg", "cardigan/b.jpg")) == [("a.jpg", 2), ("b.jpg", 3)]


def test_what_is_not_there_and_what_may_not_be_read_are_sentences(tmp_path: Path) -> None:
    assert "is not there" in refusal(tmp_path / "nowhere")
    assert "neither" in refusal(tmp_path)


def test_without_timm_a_wordnet_id_is_refused_with_what_to_do(
    tmp_path: Path, labels: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "find_spec", lambda _: None)
    said = refusal(put(tmp_path, "n01440764/a.jpg"), labels)
    assert "timm, which is not installed" in said and "by index or label" in said and "n01440764" in said


def test_an_unknown_wordnet_id_is_refused(tmp_path: Path, labels: Sequence[str]) -> None:
    assert "n99999999 is none of ImageNet's 1000 classes" in refusal(put(tmp_path, "n99999999/a.jpg"), labels)


# -- a CSV ---------------------------------------------------------------------------------------------------------


def table(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        "file,index\na.jpg,1\nsub/b.jpg,0\n",
        "file,label\na.jpg,great white shark\nsub/b.jpg,TENCH\n",
        "\ufefffile,label\r\na.jpg,great_white_shark\r\n\r\nsub/b.jpg,0\r\n",
        "wnid,index,file,label\nx,1,a.jpg,whatever\nx,0,sub/b.jpg,whatever\n",
    ],
)
def test_a_csv_names_files_beside_it_by_index_or_label(tmp_path: Path, text: str) -> None:
    put(tmp_path, "a.jpg", "sub/b.jpg", "unlisted.jpg")
    path = table(tmp_path, text)
    assert layout_of(tmp_path) == layout_of(path) == "csv"
    assert found(tmp_path) == found(path) == [("a.jpg", 1), ("b.jpg", 0)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["line 1: the header is ''", "'file,index' or 'file,label'"]),
        ("file;index\na.jpg;1\n", ["line 1: the header is 'file;index'"]),
        ("a.jpg,1\n", ["line 1"]),
        ("file,index\na.jpg,1\na.jpg,2\n", ["line 3", "in line 2 already", "Keep one"]),
        ("file,index\na.jpg,1\n./a.jpg,2\n", ["line 3", "in line 2 already", "Keep one"]),
        ("file,index\na.jpg,1\ngone.jpg,2\n", ["line 3", "no file 'gone.jpg'", "take the line out"]),
        ("file,index\n,1\n", ["line 2", "no file ''"]),
        ("file,index\na.jpg,\n", ["line 2", "'' is no class index"]),
        ("file,index\na.jpg\n", ["line 2", "'' is no class index"]),
        ("file,index\na.jpg,-1\n", ["line 2", "'-1' is no class index"]),
        ("file,index\na.jpg,1.0\n", ["line 2", "'1.0' is no class index"]),
        ("file,index\na.jpg,²\n", ["line 2", "is no class index"]),
        ("file,index\na.jpg,6\n", ["line 2", "0 to 5"]),
        ("file,label\na.jpg,crane\n", ["line 2", "may mean the classes 4"]),
        ("file,label\na.jpg,dinosaur\n", ["line 2", "none of the model's classes"]),
        ("file,label\na.jpg,shark, great\n", ["line 2", "comma in quotes"]),
        ("file,index\n", ["holds no picture"]),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    put(tmp_path, "a.jpg")
    said = refusal(table(tmp_path, text))
    assert str(tmp_path) in said and all(word in said for word in words), said


def test_a_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / "labels.csv").write_bytes(b"file,index\na.jpg,0\n\xe4.jpg,1\n")
    assert "not UTF-8" in refusal(tmp_path)


# -- ImageNet's validation pictures --------------------------------------------------------------------------------

VALIDATION = ("ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000003.JPEG")
SOLUTION = (
    "ImageId,PredictionString\n"
    "ILSVRC2012_val_00000003,n03995372 85 1 499 272 \n"
    "ILSVRC2012_val_00000001,n01751748 44 142 504 278 n01751748 1 2 3 4\n"
    "ILSVRC2012_val_00000002,n01440764 1 1 2 2\n"
)


@pytest.mark.parametrize("place", ["", "..", "../../../.."])
def test_flat_validation_pictures_take_their_classes_from_kaggles_solution(
    tmp_path: Path, labels: Sequence[str], place: str
) -> None:
    data = put(tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "val", *VALIDATION, ".DS_Store")
    table(Path(os.path.normpath(data / place)), SOLUTION, "LOC_val_solution.csv")
    assert layout_of(data) == "imagenet"
    assert found(data, labels) == [(VALIDATION[0], 65), (VALIDATION[1], 740)]
    assert (labels[65], labels[740]) == ("sea snake", "power drill")


def test_validation_pictures_in_wordnet_folders_are_imagenets_too(tmp_path: Path, labels: Sequence[str]) -> None:
    put(tmp_path, f"n01751748/{VALIDATION[0]}", f"n03995372/{VALIDATION[1]}")
    assert layout_of(tmp_path) == "imagenet"
    assert found(tmp_path, labels) == [(VALIDATION[0], 65), (VALIDATION[1], 740)]


def test_validation_pictures_without_honest_classes_are_refused(tmp_path: Path, labels: Sequence[str]) -> None:
    data = put(tmp_path / "val", *VALIDATION)
    said = refusal(data, labels)
    assert (
        "LOC_val_solution.csv" in said and "a folder for each WordNet id" in said and "order of their own" not in said
    )
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text("490\n361\n171\n")
    assert "an order of their own" in refusal(data, labels)


@pytest.mark.parametrize(
    ("solution", "more", "words"),
    [
        (SOLUTION.replace("00000003", "00000009"), "", ["no line for", VALIDATION[1]]),
        (SOLUTION, "other.jpg", ["other.jpg is none of ImageNet's validation pictures"]),
        (SOLUTION.replace("n03995372", "85"), "", ["line 2", "Take the file as Kaggle has it"]),
        (SOLUTION.replace("n03995372 85 1 499 272 ", ""), "", ["line 2"]),
        ("file,index\n", "", ["line 1", "'ImageId,PredictionString'"]),
    ],
)
def test_a_solution_that_does_not_fit_is_refused(
    tmp_path: Path, labels: Sequence[str], solution: str, more: str, words: list[str]
) -> None:
    put(tmp_path, *VALIDATION, *([more] if more else []))
    table(tmp_path, solution, "LOC_val_solution.csv")
    said = refusal(tmp_path, labels)
    assert all(word in said for word in words), said


# -- real photographs ----------------------------------------------------------------------------------------------


@pytest.mark.samples
def test_the_samples_have_the_same_classes_by_csv_and_by_folders(
    samples: Path, tmp_path: Path, labels: Sequence[str]
) -> None:
    listed = read_labelled(samples, labels)
    for each in listed:
        link = tmp_path / each.path.name.partition("_")[0] / each.path.name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(each.path)
    assert sorted(found(tmp_path, labels)) == sorted((each.path.name, each.index) for each in listed)
