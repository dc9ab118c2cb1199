"""Which model answers when nobody names one: the one asked for by the operator, else the default, else the fallback.

With a model asked for, nothing else will do: a server must not answer with another network than it was told to.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.card import BadCard
from inference.catalogue import BY_NAME, CATALOGUE, DEFAULT_MODEL, FALLBACK_MODEL, PRECISIONS
from inference.devices import computes, faster_precision, file_for, has_float32, is_cuda

GATE_IMAGES, GATE_AGREEMENT = 1000, 0.94
"""What is faster than fp32 (int8; fp16 on CUDA) is the default only if its card says: on so many pictures that it was
not calibrated on, so much agreement."""


class ModelMissing(Exception):
    """A known model, or a precision of it, that has no artefact here. The message says how to add it."""


class ModelUnknown(Exception):
    """A name that the catalogue does not hold, or a precision that does not exist."""


@dataclass(frozen=True)
class Choice:
    """The variant that answers by default, why it is that model, and why not in the precision that is faster on its
    device, int8 or fp16 (None: it is, or need not be)."""

    variant: Variant
    reason: str
    why_not_faster: str | None = None
    faster: str = "int8"

    @property
    def why_not_int8(self) -> str | None:
        """None also on a device that is not meant to compute in int8."""
        return self.why_not_faster if self.faster == "int8" else None


def choose(store: ArtefactStore, model: str | None = None, precision: str | None = None, device: str = "CPU") -> Choice:
    """The default variant on a device. Raises ModelUnknown or ModelMissing where no answer would be an honest one."""
    name, reason = _model(store, model, device)
    variant = resolve(store, name, precision, device)
    faster = faster_precision(device)
    why_not = why_not_faster(store, name, device) if precision is None else None
    if why_not and variant.precision == faster:
        return Choice(variant, f"{reason}; without float32 it answers in {faster}, although {why_not}", faster=faster)
    return Choice(variant, reason, why_not, faster)


def _model(store: ArtefactStore, asked: str | None, device: str) -> tuple[str, str]:
    if asked:
        return asked, "it is the model asked for (NINEFOLD_MODEL)"
    default, fallback = DEFAULT_MODEL, FALLBACK_MODEL
    # Where neither is there for this device, what is there for another is named, with what it lacks.
    for there in (lambda name: usable(store, name, device), store.precisions):
        if there(default):
            return default, "it is the default"
        if there(fallback):
            return fallback, f"{default}, the default, is missing: {why_missing(store, default, device)}"
    raise ModelMissing(f"No model has been built in {store.root}. Run: ninefold models build")


def resolve(store: ArtefactStore, model: str, precision: str | None = None, device: str = "CPU") -> Variant:
    """The variant meant by a name and, or without, a precision. Raises ModelUnknown or ModelMissing.

    Without one it is what is faster on the device, where that agrees well enough with fp32; else the first there is
    that the device computes.
    """
    if model not in BY_NAME:
        known = ", ".join(entry.name for entry in CATALOGUE if not entry.for_measurements_only)
        raise ModelUnknown(f"There is no model {model!r:.60}. Known models: {known}.")
    if precision is not None and precision not in PRECISIONS:
        raise ModelUnknown(f"There is no precision {precision!r:.60}. Known precisions: {', '.join(PRECISIONS)}.")
    built = usable(store, model, device)
    if not built:
        raise ModelMissing(f"{model} is not on this server: {why_missing(store, model, device)}")
    if precision is not None and precision not in built:
        where = _for(device) if precision in store.precisions(model) else ""
        raise ModelMissing(
            f"{model} has not been built in {precision}{where} on this server; it is there in {', '.join(built)}."
        )
    if precision is None and why_not_faster(store, model, device) is None:
        return Variant(model, faster_precision(device))
    return Variant(model, precision or built[0])


def is_built(store: ArtefactStore, model: str, device: str = "CPU") -> bool:
    """Whether a build for the device has nothing to do: fp32 is there, which all else is made of, and can be read."""
    try:
        fp32 = store.get(Variant(model, "fp32"))
    except BadCard:
        return False
    return fp32 is not None and file_for(device) in fp32.card.files


def usable(store: ArtefactStore, model: str, device: str) -> list[str]:
    """The precisions that are there for the device, in the catalogue's order; no card is read."""
    return [name for name in store.precisions(model, file_for(device)) if computes(device, name)]


def _for(device: str) -> str:
    """For whom something is not there, in words."""
    return " for CUDA" if is_cuda(device) else f" for {device}"


def why_not_faster(store: ArtefactStore, model: str, device: str = "CPU") -> str | None:
    """None where int8 (fp16 on CUDA) may answer in place of fp32: the gate of its card holds. Else the reason."""
    command = f"ninefold models {adds(faster_precision(device), model, device)}"
    try:
        artefact, fp32 = (store.get(Variant(model, name)) for name in (faster_precision(device), "fp32"))
    except BadCard as error:
        return f"a card cannot be read: {error}"
    if artefact is None or artefact.card.precision not in usable(store, model, device):
        return f"it is not there yet. `make run` makes it by itself; elsewhere `{command}` does."
    if fp32 is not None and not made_of(artefact, fp32):
        return f"it was made of other weights. The command `{command}` makes it anew."
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


def why_missing(store: ArtefactStore, model: str, device: str = "CPU") -> str:
    """Why nothing of the model can be used on the device, in words, with the command that adds it."""
    reason, precision = store.why_missing(model) or "it has not been built", "fp32"
    if store.precisions(model) and not store.of(model):
        reason = "its card cannot be read"
    elif store.precisions(model):
        reason = f"what is there was not made{_for(device)}"
        if not has_float32(device):
            reason, precision = f"{reason}, which has no float32", "int8" if is_built(store, model, device) else "fp32"
    return f"{reason.rstrip('.')}. The command `ninefold models {adds(precision, model, device)}` adds it."


def adds(precision: str, model: str, device: str = "CPU") -> str:
    """What makes a precision of a model for a device, after `ninefold models`."""
    words = {"fp32": "build {}", "pruned": "prune {} --data DIR"}.get(precision, "quantize {}").format(model)
    if words.startswith("quantize") and precision != faster_precision(device):
        words += f" --precision {precision}"
    return words + (" --device CUDA" if is_cuda(device) else "")
