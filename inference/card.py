"""The card of an artefact: what it was made from, how it was measured, and what it must answer.

One `card.json` lies beside the files of every artefact. It is written once, by the build, and read by everyone else.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contract.transform import Box, TransformSpec
from inference.devices import PROGRAM_NAME, is_cuda
from inference.pruning import Pruning
from inference.pruning import from_dict as pruning_from_dict

CARD_FORMAT = 1
CARD_NAME = "card.json"
_OPENVINO = "model."
"""What the names of OpenVINO's files begin with."""


class BadCard(Exception):
    """A card that is missing, damaged, or of a format that this version does not read."""


@dataclass(frozen=True)
class Origin:
    """Where the weights came from: kind and place, the sha256 of the very file, its licence."""

    kind: str
    place: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class Agreement:
    """How close an artefact is to its reference, measured on `images` pictures at the build: for fp32 that is torch,
    for a lower precision fp32. Of a detector: the share of the reference's surest boxes that were found again, and how
    far their scores are off, as they are and as logits."""

    reference: str
    images: int
    top1: float
    max_logit_difference: float
    max_probability_difference: float


@dataclass(frozen=True)
class Expected:
    """One line of the golden image's expected answer; of a detector with its box, in shares of the image."""

    label: str
    index: int
    probability: float
    box: Box | None = None


@dataclass(frozen=True)
class Golden:
    """A picture and the answer the torch reference gave: the first `predictions` line must come back as top-1,
    with a probability within `tolerance`."""

    image: str
    predictions: tuple[Expected, ...]
    tolerance: float


@dataclass(frozen=True)
class FileEntry:
    """A file of the artefact: its size in bytes and its sha256."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Card:
    """Everything that is known about one artefact."""

    model: str
    title: str
    precision: str
    origin: Origin
    transform: TransformSpec
    labels: tuple[str, ...]
    files: dict[str, FileEntry]
    agreement: Agreement
    golden: Golden
    versions: dict[str, str]
    built_at: str
    calibration: str | None = None
    """What int8 was calibrated on, in words."""
    computed_in: str | None = None
    """What a lower precision's floating-point layers were computed in when it was measured: f32, f16 or bf16."""
    pruning: Pruning | None = None
    """How a pruned artefact came about, and what it cost."""
    boxes: int | None = None
    """How many boxes a detector answers with; None: it is a classifier."""

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """The answer for one image: (C,) logits, or a detector's (Q, 6)."""
        return (self.boxes, 6) if self.boxes else (len(self.labels),)

    @property
    def size_bytes(self) -> int:
        """What the artefact's files take on disk."""
        return sum(entry.size_bytes for entry in self.files.values())

    @property
    def loaded_bytes(self) -> int:
        """What the files take once they are unpacked."""
        return self.pruning.loaded_bytes if self.pruning else self.size_on("CPU")

    def files_on(self, device: str) -> list[str]:
        """The names of the files that are read on this device: built for CUDA, an artefact has a network for each."""
        if is_cuda(device):
            return [name for name in self.files if not name.startswith(_OPENVINO)]
        return [name for name in self.files if name != PROGRAM_NAME]

    def size_on(self, device: str) -> int:
        """What those take on disk."""
        return sum(self.files[name].size_bytes for name in self.files_on(device))

    def write(self, folder: Path) -> None:
        """Writes card.json into `folder`."""
        data = {"format": CARD_FORMAT, **asdict(self), "transform": self.transform.to_dict()}
        (folder / CARD_NAME).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_card(folder: Path) -> Card:
    """Reads card.json in `folder`. Raises BadCard, and says what to do."""
    path = folder / CARD_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != CARD_FORMAT:
            raise BadCard(
                f"{path} has format {data['format']}; this version reads {CARD_FORMAT}. Build the model anew."
            )
        return _from_dict(data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadCard(f"{path} cannot be read ({error!r}). Build the model anew.") from error


def _from_dict(data: dict[str, Any]) -> Card:
    golden = data["golden"]
    return Card(
        model=data["model"],
        title=data["title"],
        precision=data["precision"],
        origin=Origin(**data["origin"]),
        transform=TransformSpec.from_dict(data["transform"]),
        labels=tuple(data["labels"]),
        files={name: FileEntry(**entry) for name, entry in data["files"].items()},
        agreement=Agreement(**data["agreement"]),
        golden=Golden(golden["image"], tuple(map(_expected, golden["predictions"])), golden["tolerance"]),
        versions=dict(data["versions"]),
        built_at=data["built_at"],
        calibration=data.get("calibration"),
        computed_in=data.get("computed_in"),
        pruning=pruning_from_dict(data["pruning"]) if data.get("pruning") else None,
        boxes=data.get("boxes"),
    )


def _expected(line: dict[str, Any]) -> Expected:
    left, top, right, bottom = line.get("box") or (0.0, 0.0, 0.0, 0.0)
    return Expected(**line | {"box": (left, top, right, bottom) if line.get("box") else None})
