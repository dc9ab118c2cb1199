"""One evaluation from its data to its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cli.evaluate.asking import Asking
from cli.evaluate.choosing import Chosen
from cli.evaluate.figures import Figures, Measured, figures
from cli.evaluate.kept import NAME, Answers, Kept
from cli.evaluate.loading import Loaded, fingerprint, load, machine, packs
from cli.evaluate.progress import Begin
from cli.evaluate.timing import TURNS_A_VARIANT, measure, timing_files
from inference import engines
from inference.artefacts import Artefact
from inference.catalogue import CATALOGUE
from inference.labelled import Labelled, layout_of, read_labelled


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
    """Data, variants, the file of answers, and what computes. `threads`: the cores in use."""

    def __init__(self, data: Data, chosen: Chosen, output: Path, threads: int, device: str = "CPU") -> None:
        self._data = data
        self._chosen = chosen
        self._threads = threads
        self._device = device
        self._kept = Kept(output / NAME, data.pictures)

    def run(self, begin: Begin) -> Figures:
        """Answers what is not answered, then measures those that answered anything.

        Interrupted, it keeps what it has; run anew, it goes on. Speed is measured in each run.
        """
        measured: list[Measured] = []
        try:
            for number, pack in enumerate(groups := packs(self._chosen.artefacts), 1):
                which = f" {number} of {len(groups)}" if len(groups) > 1 else ""
                measured += self._pack(load(pack, self._lanes, self._device, self._chosen), which, begin)
        finally:
            self._kept.close()
        measured.sort(key=lambda each: _catalogued(each.artefact))
        truth = [picture.index for picture in self._data.pictures]
        data = {"name": self._data.name, "layout": self._data.layout, "images": len(truth)}
        return figures(data, machine(self._device) | {"cores": self._threads}, truth, measured, self._chosen.missing)

    def _pack(self, pack: list[Loaded], which: str, begin: Begin) -> list[Measured]:
        if not pack:
            return []
        numbers = [self._kept.artefact(str(each.artefact.variant), fingerprint(each, self._device)) for each in pack]
        answers = [self._kept.answers(number) for number in numbers]
        asking, count = Asking(pack, numbers, answers), len(self._data.pictures)
        if asking.todo:
            tell = begin(f"asking{which}", count, count - len(asking.todo))
            asking.ask(self._data.pictures, self._kept, self._threads, tell)
        answered = [each for each in zip(pack, numbers, answers, strict=True) if self._says(each[0], each[2])]
        if not answered:
            return []
        files = timing_files(self._data.pictures, answered[0][2])
        tell = begin(f"timing{which}", TURNS_A_VARIANT * len(answered), 0)
        speeds = measure([each for each, _, _ in answered], files, self._threads, tell)
        return [
            Measured(each.artefact, got, speed, self._zipped(each.artefact, number))
            for (each, number, got), speed in zip(answered, speeds, strict=True)
        ]

    def _says(self, loaded: Loaded, answers: Answers) -> bool:
        """Whether there is anything to say of a variant; where not, it is noted as missing."""
        if (answers.top[:, 0] >= 0).any():
            return True
        card = loaded.artefact.card
        place, why = next(iter(answers.errors.items()))
        none = f"it answered none of the {len(self._data.pictures)} pictures"
        first = self._data.pictures[place].path.name
        self._chosen.lacks(card.model, f"in {card.precision}: {none}; the first is {first}: {why}")
        return False

    @property
    def _lanes(self) -> int:
        """How many calls at once a classifier is made for; a CPU's share the cores in use."""
        return self._threads if self._device == "CPU" else engines.lanes(self._device)

    def _zipped(self, artefact: Artefact, number: int) -> int:
        size = self._kept.zipped(number)
        if size is None:
            size = artefact.zipped_bytes(self._device)
            self._kept.add_zipped(number, size)
            self._kept.commit()
        return size


def _catalogued(artefact: Artefact) -> int:
    """The model's place in the catalogue; of a model, the variants are in order already."""
    return [model.name for model in CATALOGUE].index(artefact.card.model)
