"""One evaluation from its data to its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cli.evaluate.asking import Asking
from cli.evaluate.choosing import Chosen
from cli.evaluate.figures import Figures, Measured, figures, zipped_size
from cli.evaluate.kept import NAME, Answers, Kept
from cli.evaluate.loading import Loaded, fingerprint, load, machine, packs
from cli.evaluate.progress import Begin
from cli.evaluate.timing import TURNS_A_VARIANT, measure, timing_files
from inference.artefacts import Artefact
from inference.catalogue import CATALOGUE
from inference.labelled import BadData, Labelled, layout_of, read_labelled


@dataclass(frozen=True)
class Data:
    """The pictures that are asked, and what the figures say of them."""

    pictures: list[Labelled]
    name: str
    layout: str


def read_data(data: Path, labels: Sequence[str], limit: int | None, seed: int) -> Data:
    """All pictures of `data`, or a random `limit` of them, in the data's order. Raises BadData."""
    pictures = read_labelled(data, labels)
    name, count = data.resolve().name, len(pictures)
    if limit is not None and limit < count:
        order = list(range(count))
        Random(seed).shuffle(order)  # noqa: S311  # a sample; one of 50 is within that of 100
        pictures = [pictures[place] for place in sorted(order[:limit])]
        name = f"{name}, {limit} of {count}, seed {seed}"
    return Data(pictures, name, layout_of(data))


class Evaluation:
    """Data, variants, and the file of answers. `threads`: the cores in use."""

    def __init__(self, data: Data, chosen: Chosen, output: Path, threads: int) -> None:
        self._data = data
        self._chosen = chosen
        self._threads = threads
        self._kept = Kept(output / NAME, data.pictures)

    def run(self, begin: Begin) -> Figures:
        """Answers what is not answered, then measures. Raises BadData where no picture can be decoded.

        Interrupted, it keeps what it has; run anew, it goes on. Speed is measured in each run.
        """
        measured: list[Measured] = []
        try:
            for number, pack in enumerate(groups := packs(self._chosen.artefacts), 1):
                which = f" {number} of {len(groups)}" if len(groups) > 1 else ""
                measured += self._pack(load(pack, self._threads, self._chosen), which, begin)
        finally:
            self._kept.close()
        measured.sort(key=lambda each: _catalogued(each.artefact))
        truth = [picture.index for picture in self._data.pictures]
        data = {"name": self._data.name, "layout": self._data.layout, "images": len(truth)}
        return figures(data, machine() | {"cores": self._threads}, truth, measured, self._chosen.missing)

    def _pack(self, pack: list[Loaded], which: str, begin: Begin) -> list[Measured]:
        if not pack:
            return []
        numbers = [self._kept.artefact(str(each.artefact.variant), fingerprint(each.artefact)) for each in pack]
        answers = [self._kept.answers(number) for number in numbers]
        asking, count = Asking(pack, numbers, answers), len(self._data.pictures)
        if asking.todo:
            tell = begin(f"asking{which}", count, count - len(asking.todo))
            asking.ask(self._data.pictures, self._kept, self._threads, tell)
        sizes = [self._zipped(each.artefact, number) for each, number in zip(pack, numbers, strict=True)]
        files = timing_files(self._data.pictures, self._some(answers))
        speeds = measure(pack, files, self._threads, begin(f"timing{which}", TURNS_A_VARIANT * len(pack), 0))
        rows = zip(pack, answers, speeds, sizes, strict=True)
        return [Measured(each.artefact, got, speed, size) for each, got, speed, size in rows if self._says(each, got)]

    def _some(self, answers: Sequence[Answers]) -> Answers:
        """The answers of a variant that has any. Raises BadData."""
        for each in answers:
            if (each.top[:, 0] >= 0).any():
                return each
        place, why = next(iter(answers[0].errors.items()))
        raise BadData(
            f"None of the {len(self._data.pictures)} pictures could be answered. "
            f"The first is {self._data.pictures[place].path}: {why}"
        )

    def _says(self, loaded: Loaded, answers: Answers) -> bool:
        """Whether there is anything to say of a variant; where not, it is noted as missing."""
        if (answers.top[:, 0] >= 0).any():
            return True
        card = loaded.artefact.card
        why = next(iter(answers.errors.values()))
        self._chosen.lacks(card.model, f"in {card.precision}: it answered none of the pictures ({why})")
        return False

    def _zipped(self, artefact: Artefact, number: int) -> int:
        size = self._kept.zipped(number)
        if size is None:
            size = zipped_size(artefact)
            self._kept.add_zipped(number, size)
            self._kept.commit()
        return size


def _catalogued(artefact: Artefact) -> int:
    """The model's place in the catalogue; of a model, the variants are in order already."""
    return [model.name for model in CATALOGUE].index(artefact.card.model)
