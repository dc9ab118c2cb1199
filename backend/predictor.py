"""What the routes talk to: from an image's bytes to its predictions, through decoder, scheduler and classifier."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from backend.decoding import Decoder
from backend.metrics import Metrics
from backend.settings import Settings
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.choice import Choice, ModelMissing, choose, resolve
from inference.classifier import Classifier, Prediction, check_golden, golden_pixels, top_k
from inference.openvino_classifier import OpenVinoClassifier
from inference.scheduler import Overloaded, Priority, Scheduler

log = structlog.get_logger()


class Predictor:
    """One a server. To be made within the event loop that serves."""

    def __init__(self, settings: Settings, store: ArtefactStore, metrics: Metrics) -> None:
        self.choice: Choice = choose(store, settings.model, settings.precision)
        self.ready = False
        self.why_not_ready = "the model is being loaded"
        self._settings = settings
        self._receiving = 0
        self._store = store
        self._metrics = metrics
        self._artefacts: dict[Variant, Artefact] = {}
        self._decoder = Decoder(
            settings.decode_threads,
            settings.decode_megapixels * 1_000_000,
            settings.image_limits,
            on_decoded=metrics.decode_seconds.observe,
        )
        self.scheduler = Scheduler(
            self._load,
            lanes=settings.threads,
            queue_limit=settings.queue_images,
            memory_budget=settings.model_memory_mb * 1_000_000,
            on_inference=metrics.record_inference,
        )
        metrics.watch(self.scheduler)

    async def warm_up(self) -> None:
        """Loads the default variant and shows it the golden image; only the expected answer makes the server ready."""
        variant = self.choice.variant
        try:
            artefact = self.artefact(variant)
            pixels = await asyncio.to_thread(golden_pixels, artefact)
            logits = await self.scheduler.submit(variant, pixels, Priority.INTERACTIVE)
            answer = check_golden(artefact, logits)
        except Exception as error:  # Whatever it is, the server stays unready and says why.
            self.why_not_ready = str(error)
            log.exception("not ready", variant=str(variant))
            return
        self.ready = True
        self._metrics.ready.set(1)
        log.info("ready", variant=str(variant), because=self.choice.reason, golden_image=answer.label)

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Counts a request whose pictures are on their way or being answered. Raises Overloaded."""
        if self._receiving >= self._settings.max_uploads:
            raise Overloaded(retry_after=1)
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    def resolve(self, model: str | None, precision: str | None) -> Variant:
        """The variant a request means. Raises ModelUnknown or ModelMissing."""
        default = self.choice.variant
        if model is None or model == default.model:
            if precision is None or precision == default.precision:
                return default
            model = default.model
        return resolve(self._store, model, precision)

    def artefact(self, variant: Variant) -> Artefact:
        """The artefact that is loaded, else the one on disk. Raises ModelMissing or BadCard."""
        artefact = self._artefacts.get(variant) or self._store.get(variant)
        if artefact is None:
            raise ModelMissing(f"{variant} has disappeared from this server.")
        return artefact

    async def predict(self, variant: Variant, read: Callable[[], bytes], k: int) -> list[Prediction]:
        """The top `k` of the image that `read` returns; its place must have been reserved. Raises BadImage."""
        artefact = self.artefact(variant)
        pixels = await self._decoder.pixels(read, artefact.card.transform)
        logits = await self.scheduler.run(variant, pixels[None], Priority.INTERACTIVE)
        return top_k(logits[0], artefact.card.labels, k)

    async def close(self) -> None:
        """Finishes what was accepted."""
        self.ready, self.why_not_ready = False, "the server is shutting down"
        await self.scheduler.close()
        self._decoder.close()

    def _load(self, variant: Variant) -> Classifier:
        self._artefacts.pop(variant, None)
        artefact = self.artefact(variant)
        classifier = OpenVinoClassifier(artefact, threads=self._settings.threads)
        self._artefacts[variant] = artefact
        log.info("loaded", variant=str(variant))
        return classifier
