"""Pictures by variants: where the answers differ, and what a picture takes. The figures; columns.py draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from frontend.api import Answer, Prediction, VariantName
from frontend.pictures import Picture

__all__ = ["Cell", "SideBySide"]


@dataclass(frozen=True)
class Cell:
    """One variant's answer for one picture. `seconds`: from the request to it, None where there is no prediction.

    `again`: the request was refused, not the picture; it may be asked again.
    """

    answer: Answer
    seconds: float | None = None
    again: bool = False


@dataclass(frozen=True)
class SideBySide:
    """A row a picture, a column a variant; a cell that is not there is waited for."""

    pictures: tuple[Picture, ...]
    variants: tuple[VariantName, ...]
    cells: Mapping[tuple[int, VariantName], Cell]

    def cell(self, picture: Picture, variant: VariantName) -> Cell | None:
        """What is known, or None while it is waited for."""
        return self.cells.get((picture.id, variant))

    def best(self, picture: Picture, variant: VariantName) -> Prediction | None:
        """The most probable class, where there is one."""
        cell = self.cell(picture, variant)
        return cell.answer.predictions[0] if cell and cell.answer.predictions else None

    def differs(self, picture: Picture, variant: VariantName) -> bool:
        """Whether this variant names another class than the first of those that name one."""
        named = [best.index for each in self.variants if (best := self.best(picture, each))]
        best = self.best(picture, variant)
        return best is not None and best.index != named[0]

    def agree(self, picture: Picture) -> bool | None:
        """Whether all variants name the same class; None while, or where, not all of them name one."""
        if len(self.variants) < 2 or any(self.best(picture, variant) is None for variant in self.variants):
            return None
        return not any(self.differs(picture, variant) for variant in self.variants)

    @property
    def compared(self) -> list[Picture]:
        """The pictures for which every variant names a class."""
        return [picture for picture in self.pictures if all(self.best(picture, v) for v in self.variants)]

    @property
    def agreeing(self) -> int:
        """For how many of those it is the same class."""
        return sum(self.agree(picture) is True for picture in self.compared)

    @property
    def waiting(self) -> int:
        """How many cells there will be that are not there yet."""
        return len(self.pictures) * len(self.variants) - len(self.cells)

    def typical_seconds(self, variant: VariantName) -> float | None:
        """The median over the pictures that every variant answered, so that all columns are of the same pictures."""
        cells = (self.cell(picture, variant) for picture in self.compared)
        known = [cell.seconds for cell in cells if cell and cell.seconds is not None]
        return median(known) if known else None

    def ratio(self, variant: VariantName) -> float | None:
        """That time over the first column's."""
        own, first = self.typical_seconds(variant), self.typical_seconds(self.variants[0])
        return own / first if own and first else None
