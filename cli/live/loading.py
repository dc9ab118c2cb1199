"""What a run looks with: classifier, detector and filter by the words of the command, on one device."""

from __future__ import annotations

from pathlib import Path

from cli.answers import artefact_for
from cli.live.looking import Loaded, Looking
from cli.server import CannotAnswer
from inference import engines
from inference.artefacts import Artefact, ArtefactStore, DamagedArtefact
from inference.card import BadCard
from inference.choice import ModelMissing, ModelUnknown
from inference.detectors import Mode, resolve_detector
from inference.filters import NoFilter

__all__ = ["Parts", "lanes", "load"]


class Parts:
    """The artefacts that a mode needs; nothing is loaded yet. Raises CannotAnswer."""

    def __init__(
        self, models_dir: Path, mode: Mode, model: str | None, precision: str | None, detector: str | None, device: str
    ) -> None:
        store = ArtefactStore(models_dir)
        if why := engines.why_not(device):
            raise CannotAnswer(why)
        self.device = device
        self.detector = None if mode is Mode.CLASSIFY else _detector(store, detector, device)
        self.classifier = None if mode is Mode.DETECT else artefact_for(store, model, precision, device)

    def __str__(self) -> str:
        """Who answers, in words."""
        return ", then ".join(str(part.variant) for part in (self.detector, self.classifier) if part)


def load(parts: Parts, denoise: bool) -> Looking:
    """All of them, ready to answer. Raises CannotAnswer."""
    try:
        denoiser = engines.load_filter(device=parts.device) if denoise else None
        classifier, detector = _loaded(parts.classifier, parts.device), _loaded(parts.detector, parts.device)
    except (DamagedArtefact, ModelMissing, NoFilter) as error:
        raise CannotAnswer(str(error)) from error
    try:
        return Looking(classifier, detector, denoiser)
    except ImportError as error:
        why = f"what follows things from frame to frame cannot be loaded ({error}); requirements/live.txt names norfair"
        raise CannotAnswer(f"{why}. Without it: --mode detect") from error


def lanes(device: str) -> int:
    """How many frames are looked at at once."""
    return engines.lanes(device)


def _loaded(artefact: Artefact | None, device: str) -> Loaded | None:
    return Loaded(artefact, engines.load(artefact, device=device)) if artefact else None


def _detector(store: ArtefactStore, name: str | None, device: str) -> Artefact:
    try:
        variant = resolve_detector(store, name, device)
        artefact = store.get(variant)
    except (ModelMissing, ModelUnknown, BadCard) as error:
        raise CannotAnswer(str(error)) from error
    if artefact is None:
        raise CannotAnswer(f"{variant} has disappeared from {store.root}")
    return artefact
