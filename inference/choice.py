"""Which model answers when nobody names one: the one asked for by the operator, else the default, else the fallback.

With a model asked for, nothing else will do: a server must not answer with another network than it was told to.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.artefacts import ArtefactStore, Variant
from inference.catalogue import BY_NAME, CATALOGUE, DEFAULT_MODEL, FALLBACK_MODEL, PRECISIONS


class ModelMissing(Exception):
    """A known model, or a precision of it, that has no artefact here. The message says how to add it."""


class ModelUnknown(Exception):
    """A name that the catalogue does not hold, or a precision that does not exist."""


@dataclass(frozen=True)
class Choice:
    """The variant that answers by default, and why it is that one."""

    variant: Variant
    reason: str


def choose(store: ArtefactStore, model: str | None = None, precision: str | None = None) -> Choice:
    """The default variant. Raises ModelUnknown or ModelMissing where no answer would be an honest one."""
    if model:
        return Choice(resolve(store, model, precision), "it is the model asked for (NINEFOLD_MODEL)")
    if store.precisions(DEFAULT_MODEL):
        return Choice(resolve(store, DEFAULT_MODEL, precision), "it is the default")
    if store.precisions(FALLBACK_MODEL):
        reason = f"{DEFAULT_MODEL}, the default, is missing: {why_missing(store, DEFAULT_MODEL)}"
        return Choice(resolve(store, FALLBACK_MODEL, precision), reason)
    raise ModelMissing(f"No model has been built in {store.root}. Run: ninefold models build")


def resolve(store: ArtefactStore, model: str, precision: str | None = None) -> Variant:
    """The variant meant by a name and, or without, a precision. Raises ModelUnknown or ModelMissing."""
    if model not in BY_NAME:
        known = ", ".join(entry.name for entry in CATALOGUE if not entry.for_measurements_only)
        raise ModelUnknown(f"There is no model {model!r:.60}. Known models: {known}.")
    if precision is not None and precision not in PRECISIONS:
        raise ModelUnknown(f"There is no precision {precision!r:.60}. Known precisions: {', '.join(PRECISIONS)}.")
    built = store.precisions(model)
    if not built:
        raise ModelMissing(f"{model} is not on this server: {why_missing(store, model)}")
    if precision is not None and precision not in built:
        raise ModelMissing(
            f"{model} has not been built in {precision} on this server; it is there in {', '.join(built)}."
        )
    return Variant(model, precision or built[0])


def why_missing(store: ArtefactStore, model: str) -> str:
    """The reason in words, with the command that adds the model."""
    reason = store.why_missing(model) or "it has not been built"
    return f"{reason.rstrip('.')}. The command `ninefold models build {model}` adds it."
