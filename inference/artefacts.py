"""Artefacts on disk: `models/NAME/PRECISION/` with the network's files, its golden image and its card.

A folder becomes an artefact by one rename, so a reader sees a whole one or none. It is filled beside its place, in
`.PRECISION-…/new`, and the one that it replaces waits in `.PRECISION-…/former` until the rename is done. Whoever fills
such a folder holds its lock, which ends with the process: what a killed one left is put in order by the next. When a
build could not get a model's weights it leaves `models/NAME/missing.json`, which tells the server and the page why.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from inference.card import CARD_NAME, BadCard, Card, read_card
from inference.catalogue import CATALOGUE, PRECISIONS
from inference.devices import PROGRAM_NAME

MISSING_NAME = "missing.json"
_NEW, _FORMER = "new", "former"
_BLOCK = 1 << 20


class DamagedArtefact(Exception):
    """An artefact whose files are not those its card describes."""


@dataclass(frozen=True)
class Variant:
    """A model in one precision."""

    model: str
    precision: str

    def __str__(self) -> str:
        return f"{self.model} {self.precision}"


@dataclass(frozen=True)
class Artefact:
    """A variant on disk: its folder and its card."""

    folder: Path
    card: Card

    @property
    def variant(self) -> Variant:
        """What the artefact is."""
        return Variant(self.card.model, self.card.precision)

    @property
    def golden_image(self) -> bytes:
        """The bytes of the picture whose answer is known."""
        return (self.folder / self.card.golden.image).read_bytes()

    def zipped_bytes(self, device: str) -> int:
        """What its files on a device take deflated: what `zip -r` makes of them, without its directory."""
        size = 0
        for name in self.card.files_on(device):
            deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            with (self.folder / name).open("rb") as file:
                while block := file.read(_BLOCK):
                    size += len(deflate.compress(block))
            size += len(deflate.flush())
        return size

    def verify(self) -> None:
        """Compares every file with the card. Raises DamagedArtefact."""
        for name, entry in self.card.files.items():
            path = self.folder / name
            if not path.is_file() or sha256_of(path) != entry.sha256:
                raise DamagedArtefact(f"{path} is not the file that its card describes. Make it anew: {self.remake}")

    @property
    def remake(self) -> str:
        """The command that makes it anew, for CUDA as well if it is there for that."""
        device = " --device CUDA" if PROGRAM_NAME in self.card.files else ""
        return f"ninefold models {_command(self.variant)}{device} --force"


class ArtefactStore:
    """The folder of all artefacts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, variant: Variant) -> Artefact | None:
        """The artefact, or None when it was not built. Raises BadCard when it is there and cannot be read."""
        folder = self.root / variant.model / variant.precision
        return Artefact(folder, read_card(folder)) if (folder / CARD_NAME).is_file() else None

    def precisions(self, model: str, file: str = CARD_NAME) -> list[str]:
        """The precisions that `model` was built in, in the catalogue's order; those alone that have such a file."""
        folders = [(name, self.root / model / name) for name in PRECISIONS]
        return [name for name, at in folders if (at / CARD_NAME).is_file() and (at / file).is_file()]

    def all(self) -> list[Artefact]:
        """Every readable artefact of a catalogued model, in the catalogue's order."""
        return [artefact for model in CATALOGUE for artefact in self.of(model.name)]

    def of(self, model: str) -> list[Artefact]:
        """Every readable artefact of `model`, whichever catalogue it is from."""
        found = []
        for precision in self.precisions(model):
            try:
                artefact = self.get(Variant(model, precision))
            except BadCard:
                continue
            if artefact is not None:
                found.append(artefact)
        return found

    def why_missing(self, model: str) -> str | None:
        """What the last build that failed left as its reason, or None."""
        try:
            note = json.loads((self.root / model / MISSING_NAME).read_text(encoding="utf-8"))
            return str(note["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note_missing(self, model: str, reason: str) -> None:
        """Leaves the reason why `model` could not be built."""
        folder = self.root / model
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MISSING_NAME).write_text(json.dumps({"reason": reason}) + "\n", encoding="utf-8")

    def publish(self, variant: Variant, write: Callable[[Path], None]) -> Artefact:
        """Lets `write` fill an empty folder, then puts it in the variant's place by renaming."""
        home = self.root / variant.model
        home.mkdir(parents=True, exist_ok=True)
        target = home / variant.precision
        with ExitStack() as held:
            with _alone(home):
                _put_in_order(home)
                staging = Path(mkdtemp(prefix=f".{variant.precision}-", dir=home))
                held.callback(shutil.rmtree, staging, ignore_errors=True)
                held.enter_context(_alone(staging))
            new = staging / _NEW
            new.mkdir()
            write(new)
            new.chmod(0o755)
            with _alone(home):
                _swap(staging, target)
        (home / MISSING_NAME).unlink(missing_ok=True)
        return Artefact(target, read_card(target))


@contextmanager
def _alone(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Holds the folder. Whoever comes second waits, or with LOCK_NB raises OSError.

    Some network file systems lock no folders: publishing works there, and nothing is put in order.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, how)
        except OSError:
            if how & fcntl.LOCK_NB:
                raise
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # closing alone leaves it to a process that was forked meanwhile
        os.close(handle)


def _put_in_order(home: Path) -> None:
    """What publications that were killed left: variants that lost their place have it back, the rest is removed."""
    for precision in PRECISIONS:
        for staging in home.glob(f".{precision}-*/"):
            with suppress(OSError), _alone(staging, fcntl.LOCK_EX | fcntl.LOCK_NB):  # else somebody is at work there
                _put_back(staging, home / precision)
                shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, target: Path) -> None:
    try:
        if target.exists():
            target.rename(staging / _FORMER)
        (staging / _NEW).rename(target)
    finally:
        _put_back(staging, target)


def _put_back(staging: Path, target: Path) -> None:
    """The former one, unless there is another in its place."""
    former = staging / _FORMER
    if former.exists() and not target.exists():
        former.rename(target)


def _command(variant: Variant) -> str:
    """What makes it, after `ninefold models`."""
    verb = {"fp32": "build", "pruned": "prune"}.get(variant.precision, "quantize")
    return f"{verb} {variant.model}" + (f" --precision {variant.precision}" if verb == "quantize" else "")


def sha256_of(path: Path) -> str:
    """The file's sha256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
