"""Pictures whose class is known: a folder per class, ImageNet's validation pictures, or a CSV of labels.

    DIR/n01440764/*.jpg   DIR/0/*.jpg   DIR/great_white_shark/*.jpg      a folder per class
    DIR/ILSVRC2012_val_*.JPEG + LOC_val_solution.csv                     ImageNet's validation pictures
    DIR/labels.csv, or FILE.csv: `file,index` or `file,label`            a CSV

Nothing is guessed: a class that is not certain is refused with the file, the line and what to do. Only names are read
here; whether a picture can be decoded is seen when it is. Links to pictures are pictures, links to folders within a
class are not followed, and hidden files and files that are no pictures by their names are passed over.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

LABELS_NAME = "labels.csv"
Layout = Literal["csv", "folders", "imagenet"]

_DECODED = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".avif")
_REFUSED = (".heic", ".heif", ".tif", ".tiff", ".ppm", ".pgm")  # pictures too: not passed over, their rows are errors
_SUFFIXES = frozenset(_DECODED + _REFUSED)
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
_SOLUTION, _TRUTH = "LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt"
_SPLITS = frozenset({"train", "val", "valid", "validation", "test"})
_LEVELS_UP = 4  # Kaggle's archive keeps the pictures in ILSVRC/Data/CLS-LOC/val and the solution beside ILSVRC
_WORDNET_ID = re.compile(r"n\d{8}")
_SYNSETS = "data/_info/imagenet_synsets.txt"


class BadData(Exception):
    """Labelled pictures that cannot be read as such; the message names the file and the line, and what to do."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture's file and the index of its class."""

    path: Path
    index: int


def layout_of(data: Path) -> Layout:
    """Which of the layouts `data` has. Raises BadData."""
    if data.is_file() or (data / LABELS_NAME).is_file():
        return "csv"
    if not data.is_dir():
        raise BadData(f"{data} is not there. Name a folder of pictures, or a CSV file with the columns file,index.")
    names = _names(data)
    if any(_VALIDATION.fullmatch(name) for name in names):
        return "imagenet"
    folders = [name for name in names if (data / name).is_dir()]
    if not folders:
        raise BadData(
            f"{data} has neither a folder per class nor a {LABELS_NAME}. "
            "Sort the pictures into a folder for each class, or write a labels.csv with the columns file,index."
        )
    known = all(_WORDNET_ID.fullmatch(name) for name in folders)
    first = next((path.name for name in folders for path in _pictures(data / name)), "")
    return "imagenet" if known and _VALIDATION.fullmatch(first) else "folders"


def read_labelled(data: Path, labels: Sequence[str]) -> list[Labelled]:
    """Every picture of `data` and its class's index in `labels`, in a fixed order. Raises BadData."""
    classes = _Classes(labels)
    try:
        layout = layout_of(data)
        if layout == "csv":
            found = _from_csv(data if data.is_file() else data / LABELS_NAME, classes)
        elif any(_VALIDATION.fullmatch(name) for name in _names(data)):
            found = _from_validation(data, classes)
        else:
            found = _from_folders(data, classes)
    except OSError as error:
        raise BadData(f"{error.filename or data} cannot be read: {error.strerror or error}.") from error
    if not found:
        raise BadData(f"{data} holds no picture. Pictures end in {', '.join(_DECODED)}.")
    return found


class _Classes:
    """What a class may be called: its WordNet id, its index, or its label."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._wordnet: dict[str, int] | None = None

    def index_of(self, name: str, where: str) -> int:
        """The index meant by `name`, which stands at `where`. Raises BadData."""
        name = name.strip()
        if _WORDNET_ID.fullmatch(name):
            return self._by_wordnet_id(name, where)
        if name.isascii() and name.isdecimal():
            return self.checked(name, where)
        return self._by_label(name, where)

    def checked(self, text: str, where: str) -> int:
        """The index that `text` is. Raises BadData."""
        text, last = text.strip(), len(self._labels) - 1
        if not (text.isascii() and text.isdecimal()) or int(text) > last:
            raise BadData(f"{where}: {text!r:.60} is no class index. Write a whole number from 0 to {last}.")
        return int(text)

    def _by_label(self, name: str, where: str) -> int:
        wanted = name.replace("_", " ")
        matches = [i for i, label in enumerate(self._labels) if label in (name, wanted)]
        if not matches:
            folded = wanted.casefold()
            matches = [i for i, label in enumerate(self._labels) if label.replace("_", " ").casefold() == folded]
        if len(matches) == 1:
            return matches[0]
        if matches:
            which = " and ".join(f"{i} ({self._labels[i]})" for i in matches)
            raise BadData(f"{where}: {name!r:.60} may mean the classes {which}. Write the index instead.")
        raise BadData(
            f"{where}: {name!r:.60} is none of the model's classes. Write its WordNet id (n01440764), its index "
            f"(0 to {len(self._labels) - 1}) or its label ({self._labels[0]!r}, for one)."
        )

    def _by_wordnet_id(self, name: str, where: str) -> int:
        if self._wordnet is None:
            ids = _wordnet_ids(where)
            if len(ids) != len(self._labels):
                raise BadData(
                    f"{where}: WordNet ids name ImageNet's {len(ids)} classes, and the model has {len(self._labels)}. "
                    "Write the index or the label instead."
                )
            self._wordnet = {wordnet_id: index for index, wordnet_id in enumerate(ids)}
        if name not in self._wordnet:
            raise BadData(f"{where}: {name} is none of ImageNet's {len(self._wordnet)} classes. Take it out.")
        return self._wordnet[name]


def _wordnet_ids(where: str) -> list[str]:
    """ImageNet's classes in the order of their indices, from the installed package timm, which is not imported."""
    found = find_spec("timm")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / _SYNSETS
        if path.is_file():
            return path.read_text(encoding="utf-8").split()
    raise BadData(
        f"{where}: WordNet ids are looked up in the Python package timm, which is not installed. "
        "Install it (requirements/modelzoo.txt), or name the classes by index or label."
    )


# -- a folder per class --------------------------------------------------------------------------------------------


def _from_folders(data: Path, classes: _Classes) -> list[Labelled]:
    found: list[Labelled] = []
    for name in _names(data):
        path = data / name
        if path.is_dir():
            if name in _SPLITS:
                raise BadData(f"{path} is no class. If the folders of the classes are in it, name it itself.")
            index = classes.index_of(name, f"the folder {path}")
            found.extend(Labelled(picture, index) for picture in _pictures(path))
        elif path.suffix.lower() in _SUFFIXES:
            raise BadData(f"{path} lies beside the folders of the classes. Move it into one of them, or take it out.")
    return found


def _names(folder: Path) -> list[str]:
    """What is in the folder and not hidden, sorted."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208  # 50,000 names


def _pictures(folder: Path) -> Iterator[Path]:
    """Those of a class, also in folders within it."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _SUFFIXES:  # noqa: PTH122
                yield Path(root, name)


# -- a CSV ---------------------------------------------------------------------------------------------------------


def _from_csv(path: Path, classes: _Classes) -> list[Labelled]:
    found: list[Labelled] = []
    lines: dict[str, int] = {}
    for where, line, row in _rows(path, ("file", "index"), ("file", "label")):
        name = row["file"].strip()
        file = os.path.abspath(path.parent / name)  # noqa: PTH100  # a.jpg and ./a.jpg are one file
        if file in lines:
            raise BadData(f"{where}: {name!r:.100} is in line {lines[file]} already. Keep one of the two.")
        if not name or not (path.parent / name).is_file():
            raise BadData(
                f"{where}: there is no file {name!r:.200} in {path.parent}. Correct it, or take the line out."
            )
        lines[file] = line
        index = classes.checked(row["index"], where) if "index" in row else classes.index_of(row["label"], where)
        found.append(Labelled(path.parent / name, index))
    return found


def _rows(path: Path, *headers: tuple[str, ...]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Where each line is, in words and as a number, and its fields; the header must hold one of `headers`."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        try:
            there = [(name or "").strip() for name in reader.fieldnames or ()]
            if not any(set(header) <= set(there) for header in headers):
                wanted = " or ".join(repr(",".join(header)) for header in headers)
                raise BadData(f"{path}, line 1: the header is {','.join(there)!r:.80}. Make it {wanted}.")
            reader.fieldnames = there
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row:
                    raise BadData(f"{where}: there are more fields than the header has. Put a comma in quotes.")
                yield where, reader.line_num, row
        except UnicodeDecodeError as error:
            raise BadData(
                f"{path}, after line {reader.line_num}: this is not UTF-8. Save the file as UTF-8."
            ) from error
        except csv.Error as error:
            raise BadData(f"{path}, line {reader.line_num + 1}: {error}. Save the file as a plain CSV.") from error


# -- ImageNet's validation pictures --------------------------------------------------------------------------------


def _from_validation(data: Path, classes: _Classes) -> list[Labelled]:
    truth = _validation_classes(data, classes)
    found = []
    for name in _names(data):
        number = _VALIDATION.fullmatch(name)
        if number:
            if (index := truth.get(int(number[1]))) is None:
                raise BadData(f"{_solution(data)} has no line for {data / name}. Take the picture out.")
            found.append(Labelled(data / name, index))
        elif os.path.splitext(name)[1].lower() in _SUFFIXES:  # noqa: PTH122
            raise BadData(f"{data / name} is none of ImageNet's validation pictures. Take it out.")
    return found


def _validation_classes(data: Path, classes: _Classes) -> dict[int, int]:
    """Each validation picture's number, and its class's index."""
    path = _solution(data)
    if path is None:
        also = ""
        if any((folder / _TRUTH).is_file() for folder in (data, data.parent)):
            also = f" The ids in {_TRUTH} are in an order of their own, and nothing beside them says which."
        raise BadData(
            f"{data} holds ImageNet's validation pictures without their classes. Put Kaggle's {_SOLUTION} beside them, "
            f"or sort them into a folder for each WordNet id, as torchvision has them.{also}"
        )
    truth = {}
    for where, _, row in _rows(path, ("ImageId", "PredictionString")):
        number = _VALIDATION.fullmatch(f"{row['ImageId'].strip()}.JPEG")
        wordnet_id = row["PredictionString"].split()[:1]
        if number is None or not wordnet_id or not _WORDNET_ID.fullmatch(wordnet_id[0]):
            raise BadData(f"{where}: this is no line of Kaggle's {_SOLUTION}. Take the file as Kaggle has it.")
        truth[int(number[1])] = classes.index_of(wordnet_id[0], where)
    return truth


def _solution(data: Path) -> Path | None:
    above = (data, *data.absolute().parents[:_LEVELS_UP])
    return next((folder / _SOLUTION for folder in above if (folder / _SOLUTION).is_file()), None)
