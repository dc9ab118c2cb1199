"""What sessions share beside the classifiers: the detector, the guided filter, and the library that follows things.

Each is loaded when the first session asks for it, outside the event loop. Whether it can be had is known before, as far
as that can be told without loading it; what cannot is refused in words.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from time import monotonic

import numpy as np
import structlog

from backend.api.errors import ApiError
from backend.predictor import Predictor
from inference import engines
from inference.artefacts import Artefact, ArtefactStore, DamagedArtefact
from inference.card import BadCard, Card
from inference.choice import ModelMissing, ModelUnknown
from inference.classifier import DeviceLost, WrongAnswer
from inference.detectors import resolve_detector
from inference.devices import is_cuda
from inference.filters import Filter, NoFilter
from inference.scheduler import Closed, Overloaded
from inference.tracks import Tracks

__all__ = ["SharedDetector", "SharedFilter", "Trackers"]

log = structlog.get_logger()
BAD_SECONDS = 60.0
"""How long a detector that failed is not tried again; one with another card is at once."""
PASSING_SECONDS = 5.0
"""How long what could not be loaded this time is not tried again: a browser that was refused asks by GET why."""


class SharedDetector:
    """The detector meant by `name` (None: what is there). To be made within the event loop that serves."""

    def __init__(self, predictor: Predictor, store: ArtefactStore, name: str | None, device: str = "CPU") -> None:
        self._predictor = predictor
        self._store = store
        self._name = name
        self._device = device
        self._good: Card | None = None
        self._bad: Card | None = None
        self._why_bad = ""
        self._bad_until = 0.0
        self._one_loads = asyncio.Lock()

    def check(self) -> Artefact:
        """The one on disk; reads its card and no more. Raises ApiError 409 where none can be used."""
        try:
            variant = resolve_detector(self._store, self._name, self._device)
            artefact = self._store.get(variant)
        except (ModelMissing, ModelUnknown, BadCard) as error:
            raise _no_detector(str(error)) from None
        if artefact is None:
            raise _no_detector(f"{variant} has disappeared from this server.")
        if artefact.card == self._bad and monotonic() < self._bad_until:
            raise _no_detector(self._why_bad)
        return artefact

    async def load(self) -> Artefact:
        """The same, in memory, once it saw on its golden image what it should. Raises ApiError 409; Overloaded, Closed
        or what else says nothing against the detector."""
        async with self._one_loads:
            artefact = self.check()
            if artefact.card != self._good:
                self._good = None  # whatever comes of it, that one may be in memory no more
                await self._try(artefact)
                self._good = artefact.card
        return artefact

    async def _try(self, artefact: Artefact) -> None:
        try:
            await self._predictor.try_out(artefact.variant)
        except (Overloaded, Closed, DeviceLost, MemoryError):
            raise
        except (DamagedArtefact, WrongAnswer, BadCard) as error:
            log.exception("the detector is off", variant=str(artefact.variant))
            self._bad, self._why_bad, self._bad_until = artefact.card, str(error), monotonic() + BAD_SECONDS
            if not isinstance(error, DamagedArtefact):  # which says what to do
                self._why_bad += f". Make it anew: {artefact.remake}"
            raise _no_detector(self._why_bad) from error
        except Exception as error:  # says nothing against its files: too many are open, for one
            log.exception("the detector cannot be loaded now", variant=str(artefact.variant))
            self._bad, self._bad_until = artefact.card, monotonic() + PASSING_SECONDS
            self._why_bad = f"{artefact.variant} could not be loaded this time: {error}"
            raise _no_detector(self._why_bad) from error


class SharedFilter:
    """The guided filter, for the server's device. To be made within the event loop that serves."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._filter: Filter | None = None
        self._why_not: str | None = None
        self._now = _ThisTime()
        self._one_loads = asyncio.Lock()

    def check(self) -> None:
        """Loads nothing. Raises ApiError 409 where there can be none."""
        if self._filter is not None:
            return
        needed = ("triton", "Triton", "backend-gpu") if is_cuda(self._device) else ("cv2", "OpenCV", "live")
        why_not = self._why_not or self._now.why_not or _why_not_there(*needed)
        if why_not:
            raise _no_filter(why_not)

    async def load(self) -> Filter:
        """The one filter of this process, which was tried once. Raises ApiError 409."""
        async with self._one_loads:
            self.check()
            if self._filter is None:
                try:
                    self._filter = await asyncio.to_thread(self._tried)
                except (NoFilter, ImportError) as error:
                    log.exception("the filter is off")
                    self._why_not = str(error)
                    raise _no_filter(self._why_not) from error
                except MemoryError:
                    raise
                except Exception as error:  # of OpenCV, of the driver, of the system: it may pass
                    log.exception("the filter cannot be loaded now")
                    raise _no_filter(self._now.failed(error)) from error
        return self._filter

    def _tried(self) -> Filter:
        """In a thread: imports, and on CUDA compiles."""
        denoise = engines.load_filter(device=self._device)
        denoise(np.zeros((8, 8, 3), np.uint8))
        return denoise


class Trackers:
    """What makes each session its tracks."""

    def __init__(self) -> None:
        self._now = _ThisTime()

    def check(self) -> None:
        """Imports nothing. Raises ApiError 409 where there are none."""
        if why_not := self._now.why_not or _why_not_there("norfair", "norfair", "live"):
            raise _no_tracker(why_not)

    async def load(self) -> Tracks:
        """New ones. Raises ApiError 409."""
        self.check()
        try:
            return await asyncio.to_thread(Tracks)
        except MemoryError:
            raise
        except Exception as error:  # also of what norfair imports
            log.exception("the tracker is off")
            raise _no_tracker(self._now.failed(error)) from error


class _ThisTime:
    """Why something could not be loaded, for PASSING_SECONDS: it may be another time."""

    def __init__(self) -> None:
        self._why_not = ""
        self._until = 0.0

    @property
    def why_not(self) -> str:
        return self._why_not if monotonic() < self._until else ""

    def failed(self, error: Exception) -> str:
        """The words, which are kept."""
        self._why_not, self._until = str(error) or type(error).__name__, monotonic() + PASSING_SECONDS
        return self._why_not


def _why_not_there(library: str, name: str, file: str) -> str | None:
    return None if find_spec(library) else f"{name} is not installed; requirements/{file}.txt names it"


def _no_detector(why: str) -> ApiError:
    return ApiError(409, "model_missing", f"{why.rstrip('.')}. What a frame shows can be told without one.")


def _no_filter(why: str) -> ApiError:
    message = f"There is no filter on this server: {why.rstrip('.')}. Without filter=1 it works."
    return ApiError(409, "filter_missing", message)


def _no_tracker(why: str) -> ApiError:
    message = f"Nothing can be followed from frame to frame on this server: {why.rstrip('.')}. mode=detect works."
    return ApiError(409, "tracker_missing", message)
