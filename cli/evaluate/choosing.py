"""Which variants are compared, and which are not there and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.card import BadCard
from inference.catalogue import BY_NAME, CATALOGUE, PRECISIONS
from inference.choice import ModelUnknown, resolve, why_missing

ALL = "all"


@dataclass(frozen=True)
class Missing:
    """A model, or a variant of it, that is not compared, and the reason in words."""

    model: str
    title: str
    reason: str


@dataclass
class Chosen:
    """What is compared, in the catalogue's order, and what is not."""

    artefacts: list[Artefact] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    def lacks(self, model: str, reason: str) -> None:
        """Notes that the model, or a variant of it, is not compared."""
        self.missing.append(Missing(model, BY_NAME[model].title, reason))


def chosen(store: ArtefactStore, models: str, precisions: str | None) -> Chosen:
    """The variants meant by `--models` and `--precisions`. Raises ModelUnknown."""
    named = set(_names(precisions)) if precisions else set()
    for precision in named:
        _known(precision)
    found = Chosen()
    for model, wanted in _asked(store, models, named):
        _add(store, model, wanted, found)
    return found


def _asked(store: ArtefactStore, models: str, named: set[str]) -> list[tuple[str, set[str]]]:
    """Each model and the precisions of it that were named; none: all that are there."""
    if _names(models) == (ALL,):
        seen = [m.name for m in CATALOGUE if store.precisions(m.name) or not m.for_measurements_only]
        return [(name, named) for name in seen]
    asked: dict[str, set[str]] = {}
    whole = set()
    for each in _names(models):
        name, _, precision = each.partition(":")
        if name not in BY_NAME:
            resolve(store, name)
        if precision:
            _known(precision)
        asked.setdefault(name, set()).update([precision] if precision else named)
        whole |= set() if precision or named else {name}
    if not asked:
        raise ModelUnknown("No model is named. Write --models all, or names with commas between them.")
    return [(m.name, set() if m.name in whole else asked[m.name]) for m in CATALOGUE if m.name in asked]


def _add(store: ArtefactStore, model: str, wanted: set[str], found: Chosen) -> None:
    built = store.precisions(model)
    if not built:
        found.lacks(model, why_missing(store, model))
    elif absent := [precision for precision in PRECISIONS if precision in wanted - set(built)]:
        found.lacks(model, f"it has not been built in {', '.join(absent)}; it is there in {', '.join(built)}.")
    for precision in built:
        if not wanted or precision in wanted:
            try:
                artefact = store.get(Variant(model, precision))
            except BadCard as error:
                found.lacks(model, f"in {precision}: {error}")
            else:
                found.artefacts += [artefact] if artefact else []


def _known(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ModelUnknown(f"There is no precision {precision!r:.60}. Known precisions: {', '.join(PRECISIONS)}.")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
