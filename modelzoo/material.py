"""What a network is fine-tuned on, and what it is then judged by: never the same pictures.

    labelled      a folder of classes or a CSV (inference/labelled.py); a share of it, or another folder, is held out
    unlabelled    a folder of pictures, or those that come with scikit-image and scikit-learn; one of four is held out

A batch is a function of its number and the seed alone, so that a run that goes on is the run that was never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contract.transform import BadImage, Pixels, TransformSpec, to_pixels
from inference.labelled import BadData, Labelled, read_labelled
from modelzoo.photographs import Photographs, crops, drawn, one_crop

Classes = npt.NDArray[np.int64]

FEWEST_WHOLE = 100
"""Of fewer unlabelled pictures than this, crops are judged instead of the pictures themselves."""

_LEAST_TO_TRAIN, _LEAST_TO_JUDGE = 0.25, 0.35
_CHUNK = 50


@dataclass(frozen=True)
class Pictures:
    """Files, and the index of each one's class; no classes where they are not labelled."""

    files: tuple[Path, ...]
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Material:
    """The pictures to train on, those that are held out, and what they are, in words."""

    train: Pictures
    validation: Pictures
    source: str

    @property
    def is_labelled(self) -> bool:
        """Whether the classes are known."""
        return bool(self.train.classes)


def labelled(data: Path, validation: Path | None, held_out: float, labels: Sequence[str]) -> Material:
    """The pictures of `data`; held out: those of `validation`, or else the share `held_out`. Raises BadData."""
    found = read_labelled(data, labels)
    if validation is None:
        folder, count = data if data.is_dir() else data.parent, round(held_out * len(found))
        judges = drawn((one.path for one in found), folder, count)
        train, held = ([one for one in found if (one.path in judges) is judging] for judging in (False, True))
    else:
        train, held = found, read_labelled(validation, labels)
        both = {one.path.resolve() for one in train} & {one.path.resolve() for one in held}
        if both:
            raise BadData(
                f"{min(both)} is in both folders: what is trained on cannot judge. Take it out of one of them."
            )
    if not train or not held:
        raise BadData(f"{data} has {len(found)} pictures: too few to train on some and hold out {held_out:.0%}.")
    return Material(_of(train), _of(held), f"{len(train)} labelled pictures, {len(held)} others held out")


def unlabelled(photographs: Photographs) -> Material:
    """Pictures without classes."""
    train, held = photographs.calibration, photographs.gate
    return Material(Pictures(train), Pictures(held), f"{len(train)} {photographs.source}, {len(held)} others held out")


def faults(material: Material, spec: TransformSpec) -> Iterator[str | None]:
    """Decodes every picture once: what is wrong with it and its file's name, or None."""
    files = material.train.files + material.validation.files
    with ThreadPoolExecutor() as pool:
        for at in range(0, len(files), _CHUNK):
            yield from pool.map(partial(_fault, spec=spec), files[at : at + _CHUNK])


def _fault(path: Path, spec: TransformSpec) -> str | None:
    try:
        _whole(path, spec)
    except BadData as error:
        return str(error)
    return None


def _of(found: Sequence[Labelled]) -> Pictures:
    return Pictures(tuple(one.path for one in found), tuple(one.index for one in found))


class Batches:
    """Random crops of the training pictures, each picture once an epoch, in an order that the seed decides."""

    def __init__(self, pictures: Pictures, spec: TransformSpec, size: int, seed: int) -> None:
        self._pictures, self._spec, self._size, self._seed = pictures, spec, size, seed
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def between(self, start: int, end: int) -> Iterator[tuple[Pixels, Classes]]:
        """Batches `start` to `end` - 1: uint8[size,H,W,3] and int64[size], or int64[0] without labels.

        The next one is read while one is used. Raises NoPhotographs for a file that is no picture.
        """
        if start >= end:
            return
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = [pool.submit(self._batch, start)]
            for number in range(start + 1, end + 1):
                if number < end:
                    ahead.append(pool.submit(self._batch, number))
                yield ahead.pop(0).result()

    def _batch(self, number: int) -> tuple[Pixels, Classes]:
        places = range(number * self._size, (number + 1) * self._size)
        count, files, classes = len(self._pictures.files), self._pictures.files, self._pictures.classes
        chosen = [int(self._order(place // count)[place % count]) for place in places]
        pixels = [
            one_crop(files[one], self._spec, least=_LEAST_TO_TRAIN, seed=(self._seed, place))
            for place, one in zip(places, chosen, strict=True)
        ]
        return np.stack(pixels), np.array([classes[one] for one in chosen] if classes else [], dtype=np.int64)

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng((self._seed, epoch, 1)).permutation(len(self._pictures.files))


def to_judge(pictures: Pictures, spec: TransformSpec, most: int) -> Iterator[tuple[Pixels, Classes]]:
    """At most `most` of the pictures as the server would see them, uint8[N,H,W,3], and their classes, in chunks.

    Of a few pictures without classes it is `most` crops. Raises BadData or NoPhotographs.
    """
    files, classes = pictures.files, np.array(pictures.classes, dtype=np.int64)
    if not pictures.classes and len(files) < FEWEST_WHOLE:
        pixels = crops(files, most, spec, least=_LEAST_TO_JUDGE, seed=1)
        yield from ((pixels[at : at + _CHUNK], classes) for at in range(0, most, _CHUNK))
        return
    chosen = np.sort(np.random.default_rng(0).permutation(len(files))[:most])
    for at in range(0, len(chosen), _CHUNK):
        part = chosen[at : at + _CHUNK]
        whole = np.stack([_whole(files[one], spec) for one in part])
        yield whole, classes[part] if len(classes) else classes


def _whole(path: Path, spec: TransformSpec) -> Pixels:
    try:
        return to_pixels(path.read_bytes(), spec)
    except BadImage as error:
        raise BadData(f"{path} cannot be used: {error} Take it out.") from error
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror or error}. Take it out.") from error
