"""Which model answers when nobody names one: the one asked for by the operator, else the default, else the fallback.

With a model asked for, nothing else will do: a server must not answer with another network than it was told to.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.card import BadCard
from inference.catalogue import BY_NAME, CATALOGUE, DEFAULT_MODEL, FALLBACK_MODEL, PRECISIONS
from inference.devices import PROGRAM_NAME, faster_precision, is_cuda

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
    name, reason = _model(store, model)
    variant = resolve(store, name, precision, device)
    faster = faster_precision(device)
    wanted = precision is None and variant.precision != faster
    return Choice(variant, reason, why_not_faster(store, name, device) if wanted else None, faster)


def _model(store: ArtefactStore, asked: str | None) -> tuple[str, str]:
    if asked:
        return asked, "it is the model asked for (NINEFOLD_MODEL)"
    if store.precisions(DEFAULT_MODEL):
        return DEFAULT_MODEL, "it is the default"
    if store.precisions(FALLBACK_MODEL):
        return FALLBACK_MODEL, f"{DEFAULT_MODEL}, the default, is missing: {why_missing(store, DEFAULT_MODEL)}"
    raise ModelMissing(f"No model has been built in {store.root}. Run: ninefold models build")


def resolve(store: ArtefactStore, model: str, precision: str | None = None, device: str = "CPU") -> Variant:
    """The variant meant by a name and, or without, a precision. Raises ModelUnknown or ModelMissing.

    Without one it is what is faster on the device, where that agrees well enough with fp32; else the first there is.
    """
    if model not in BY_NAME:
        known = ", ".join(entry.name for entry in CATALOGUE if not entry.for_measurements_only)
        raise ModelUnknown(f"There is no model {model!r:.60}. Known models: {known}.")
    if precision is not None and precision not in PRECISIONS:
        raise ModelUnknown(f"There is no precision {precision!r:.60}. Known precisions: {', '.join(PRECISIONS)}.")
    built = _built(store, model, device)
    if not built and store.precisions(model):
        raise ModelMissing(
            f"{model} has not been built for CUDA on this server. "
            f"The command `ninefold models build {model} --device CUDA` adds what is missing."
        )
    if not built:
        raise ModelMissing(f"{model} is not on this server: {why_missing(store, model)}")
    if precision is not None and precision not in built:
        where = " for CUDA" if is_cuda(device) else ""
        raise ModelMissing(
            f"{model} has not been built in {precision}{where} on this server; it is there in {', '.join(built)}."
        )
    if precision is None and why_not_faster(store, model, device) is None:
        return Variant(model, faster_precision(device))
    return Variant(model, precision or built[0])


def is_built(store: ArtefactStore, model: str, device: str = "CPU") -> bool:
    """Whether a build for the device has nothing to do: on CUDA fp32 must have a program for torch."""
    if not is_cuda(device):
        return bool(store.precisions(model))
    try:
        return _has_program(store.get(Variant(model, "fp32")))
    except BadCard:
        return False


def _built(store: ArtefactStore, model: str, device: str) -> list[str]:
    """The precisions that are there, in the catalogue's order; for CUDA those that torch can run."""
    built = store.precisions(model)
    return [name for name in built if _has_program(store.get(Variant(model, name)))] if is_cuda(device) else built


def _has_program(artefact: Artefact | None) -> bool:
    return artefact is not None and PROGRAM_NAME in artefact.card.files


def why_not_faster(store: ArtefactStore, model: str, device: str = "CPU") -> str | None:
    """None where int8 (fp16 on CUDA) may answer in place of fp32: the gate of its card holds. Else the reason."""
    command = f"ninefold models quantize {model}{' --device CUDA' if is_cuda(device) else ''}"
    try:
        artefact, fp32 = (store.get(Variant(model, name)) for name in (faster_precision(device), "fp32"))
    except BadCard as error:
        return f"a card cannot be read: {error}"
    if artefact is None or (is_cuda(device) and not _has_program(artefact)):
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


def why_not_int8(store: ArtefactStore, model: str) -> str | None:
    """The same on a CPU."""
    return why_not_faster(store, model)


def made_of(artefact: Artefact, fp32: Artefact) -> bool:
    """Whether a lower precision was made of the fp32 that is there now."""
    return (artefact.card.origin, artefact.card.transform) == (fp32.card.origin, fp32.card.transform)


def why_missing(store: ArtefactStore, model: str) -> str:
    """The reason in words, with the command that adds the model."""
    reason = store.why_missing(model) or "it has not been built"
    return f"{reason.rstrip('.')}. The command `ninefold models build {model}` adds it."
