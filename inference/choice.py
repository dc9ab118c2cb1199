"""Which model answers when nobody names one: the one asked for by the operator, else the default, else the fallback.

With a model asked for, nothing else will do: a server must not answer with another network than it was told to.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.card import BadCard
from inference.catalogue import BY_NAME, CATALOGUE, DEFAULT_MODEL, FALLBACK_MODEL, PRECISIONS

GATE_IMAGES, GATE_AGREEMENT = 1000, 0.94
"""int8 is the default only if its card says: on so many pictures that it was not calibrated on, so much agreement."""


class ModelMissing(Exception):
    """A known model, or a precision of it, that has no artefact here. The message says how to add it."""


class ModelUnknown(Exception):
    """A name that the catalogue does not hold, or a precision that does not exist."""


@dataclass(frozen=True)
class Choice:
    """The variant that answers by default, why it is that model, and why not in int8 (None: it is, or need not be)."""

    variant: Variant
    reason: str
    why_not_int8: str | None = None


def choose(store: ArtefactStore, model: str | None = None, precision: str | None = None) -> Choice:
    """The default variant. Raises ModelUnknown or ModelMissing where no answer would be an honest one."""
    name, reason = _model(store, model)
    variant = resolve(store, name, precision)
    wanted = precision is None and variant.precision != "int8"
    return Choice(variant, reason, why_not_int8(store, name) if wanted else None)


def _model(store: ArtefactStore, asked: str | None) -> tuple[str, str]:
    if asked:
        return asked, "it is the model asked for (NINEFOLD_MODEL)"
    if store.precisions(DEFAULT_MODEL):
        return DEFAULT_MODEL, "it is the default"
    if store.precisions(FALLBACK_MODEL):
        return FALLBACK_MODEL, f"{DEFAULT_MODEL}, the default, is missing: {why_missing(store, DEFAULT_MODEL)}"
    raise ModelMissing(f"No model has been built in {store.root}. Run: ninefold models build")


def resolve(store: ArtefactStore, model: str, precision: str | None = None) -> Variant:
    """The variant meant by a name and, or without, a precision. Raises ModelUnknown or ModelMissing.

    Without one it is int8 where that agrees well enough with fp32, else the first that there is.
    """
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
    if precision is None and why_not_int8(store, model) is None:
        return Variant(model, "int8")
    return Variant(model, precision or built[0])


def why_not_int8(store: ArtefactStore, model: str) -> str | None:
    """None where int8 may answer in place of fp32: the gate of its card holds. Else the reason, in words."""
    try:
        artefact, fp32 = store.get(Variant(model, "int8")), store.get(Variant(model, "fp32"))
    except BadCard as error:
        return f"a card cannot be read: {error}"
    if artefact is None:
        return f"it is not there yet. `make run` makes it by itself; elsewhere `ninefold models quantize {model}` does."
    if fp32 is not None and not made_of(artefact, fp32):
        return f"it was made of other weights. The command `ninefold models quantize {model}` makes it anew."
    agreement = artefact.card.agreement
    if agreement.images < GATE_IMAGES or agreement.top1 < GATE_AGREEMENT:
        return (
            f"it has the top-1 of fp32 on {agreement.top1:.1%} of {agreement.images} pictures; "
            f"{GATE_AGREEMENT:.0%} of at least {GATE_IMAGES} are asked for."
        )
    return None


def made_of(artefact: Artefact, fp32: Artefact) -> bool:
    """Whether a lower precision was made of the fp32 that is there now."""
    return (artefact.card.origin, artefact.card.transform) == (fp32.card.origin, fp32.card.transform)


def why_missing(store: ArtefactStore, model: str) -> str:
    """The reason in words, with the command that adds the model."""
    reason = store.why_missing(model) or "it has not been built"
    return f"{reason.rstrip('.')}. The command `ninefold models build {model}` adds it."
