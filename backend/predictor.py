"""What the routes talk to: from an image's bytes to its predictions, through decoder, scheduler and classifier."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import structlog

from backend.decoding import Decoder
from backend.early import EarlyLoad
from backend.live.limits import MOST_FILTERED
from backend.metrics import Metrics
from backend.settings import Settings
from contract.transform import BadImage, ImageLimits, Pixels, TransformSpec, read_header
from inference import engines
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.boxes import Detection, check_golden_boxes
from inference.card import BadCard
from inference.choice import Choice, ModelMissing, choose, resolve
from inference.classifier import Classifier, Logits, Prediction, check_golden, golden_pixels, top_k
from inference.devices import is_cuda
from inference.filters import Filter
from inference.scheduler import Closed, Overloaded, Priority, Scheduler

log = structlog.get_logger()
FOLLOW_SECONDS = 5.0


class Predictor:
    """One a server. To be made within the event loop that serves."""

    def __init__(
        self, settings: Settings, store: ArtefactStore, metrics: Metrics, early: EarlyLoad | None = None
    ) -> None:
        self.choice: Choice = choose(store, settings.model, settings.precision, settings.device)
        self.ready = False
        self.why_not_ready = "the model is being loaded"
        self._settings = settings
        self._receiving = 0
        self._store = store
        self._metrics = metrics
        self._early = early
        self._refused: str | None = None
        self._artefacts: dict[Variant, Artefact] = {}
        self._decoder = Decoder(
            settings.decode_megapixels * 1_000_000,
            settings.image_limits,
            on_decoded=metrics.decode_seconds.observe,
            decode=engines.load_decoder(device=settings.device if settings.gpu_decode else "CPU"),
        )
        self.scheduler = Scheduler(
            self._load,
            lanes=settings.threads,
            makers=settings.decode_threads,
            queue_limit=settings.queue_images,
            memory_budget=settings.model_memory_mb * 1_000_000,
            on_inference=metrics.record_inference,
            # Two calls on CUDA are there to overlap; on processors one is a lane for a second.
            slow=lambda variant: not is_cuda(settings.device) and bool(self.artefact(variant).card.boxes),
        )
        metrics.watch(self.scheduler)
        metrics.ready.set_function(lambda: self.ready and self.scheduler.alive)

    async def warm_up(self) -> None:
        """Loads the default variant and shows it the golden image; only the expected answer makes the server ready.

        Where int8 (fp16 on CUDA) was chosen by itself and fails, fp32 answers in its place, and the reason is kept.
        """
        choice = self.choice
        failure = await self._become_ready(choice)
        if failure and choice.variant.precision == choice.faster and self._settings.precision is None:
            log.error("%s fails", choice.faster, why=failure)
            try:
                spare = choose(self._store, choice.variant.model, "fp32", self._settings.device).variant
            except (ModelMissing, BadCard):
                pass
            else:
                self._refused = self._built_at(choice.variant)
                failure = await self._become_ready(replace(choice, variant=spare, why_not_faster=failure))
        if failure:
            self.why_not_ready = failure

    async def _become_ready(self, choice: Choice) -> str | None:
        """Why it did not, or None."""
        try:
            answer = await self.try_out(choice.variant)
        except Exception as error:  # Whatever it is, the server stays unready and says why.
            log.exception("not ready", variant=str(choice.variant))
            return str(error)
        self.choice = choice
        self.ready = True
        log.info("ready", variant=str(choice.variant), because=choice.reason, golden_image=answer.label)
        if choice.why_not_faster:
            log.info("not in %s", choice.faster, why=choice.why_not_faster)
        return None

    async def follow(self) -> None:
        """Looks every few seconds whether another precision of the model that answers has become the better default.

        It takes over once it gave its golden image the expected answer; until then, and otherwise, nothing changes.
        """
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self._look_for_better()
            except (ModelMissing, BadCard, Overloaded, Closed):
                continue  # what answers is in memory; a queue that is full is another matter in five seconds
            except Exception:
                log.exception("looking for another precision failed; it is tried again")

    async def _look_for_better(self) -> None:
        if not self.ready or self._settings.precision is not None:
            return
        found = await asyncio.to_thread(choose, self._store, self.choice.variant.model, None, self._settings.device)
        if found.variant == self.choice.variant:
            self.choice = replace(self.choice, why_not_faster=found.why_not_faster)
            return
        built_at = self._built_at(found.variant)
        if built_at == self._refused:
            return
        try:
            answer = await self.try_out(found.variant)
        except (Overloaded, Closed):
            raise
        except Exception as error:
            self._refused = built_at
            self.choice = replace(self.choice, why_not_faster=str(error))
            log.exception("the default stays as it is", variant=str(self.choice.variant), instead_of=str(found.variant))
            return
        log.info("the default changes", before=str(self.choice.variant), now=str(found.variant), golden=answer.label)
        self.choice = replace(found, reason=self.choice.reason)

    def _built_at(self, variant: Variant) -> str | None:
        artefact = self._store.get(variant)
        return f"{variant}, {artefact.card.built_at}" if artefact else None

    async def try_out(self, variant: Variant) -> Prediction | Detection:
        """The golden image's answer. Raises WrongAnswer, and whatever keeps the variant from being loaded."""
        on_disk = self._store.get(variant)
        if on_disk and variant in self._artefacts and self._artefacts[variant].card != on_disk.card:
            self.scheduler.forget(variant)  # it was made anew since it was loaded
            del self._artefacts[variant]
        artefact = self.artefact(variant)
        pixels = await asyncio.to_thread(golden_pixels, artefact)
        logits = await self.scheduler.submit(variant, pixels, Priority.INTERACTIVE)
        return check_golden_boxes(artefact, logits) if artefact.card.boxes else check_golden(artefact, logits)

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
        return resolve(self._store, model, precision, self._settings.device)

    def artefact(self, variant: Variant) -> Artefact:
        """The artefact that is loaded, else the one on disk. Raises ModelMissing or BadCard."""
        artefact = self._artefacts.get(variant) or self._store.get(variant)
        if artefact is None:
            raise ModelMissing(f"{variant} has disappeared from this server.")
        return artefact

    async def predict(self, variant: Variant, read: Callable[[], bytes], k: int) -> list[Prediction]:
        """The top `k` of the image that `read` returns; its place must have been reserved.

        Raises BadImage, and WrongAnswer where the network has none.
        """
        labels = self.artefact(variant).card.labels
        predictions = top_k(await self.logits(variant, read, Priority.INTERACTIVE), labels, k)
        self._metrics.answers.note(variant, predictions[0])
        return predictions

    async def logits(
        self, variant: Variant, read: Callable[[], bytes], priority: Priority, limits: ImageLimits | None = None
    ) -> Logits:
        """float32[C] of the image that `read` returns; its place must have been reserved. Raises BadImage.

        Without `limits` an image may be what the settings let images be.
        """
        since = time.perf_counter() if priority is Priority.INTERACTIVE else None
        make = partial(self._pixels, read, self.artefact(variant).card.transform, since, limits)
        return await self.scheduler.run_made(variant, make, priority)

    async def frame_logits(self, variant: Variant, frame: bytes) -> Logits:
        """The same of a camera's frame."""
        return await self.logits(variant, lambda: frame, Priority.LIVE, self._settings.live_image_limits)

    def _pixels(
        self, read: Callable[[], bytes], spec: TransformSpec, since: float | None, limits: ImageLimits | None
    ) -> Pixels:
        """In the thread that decodes."""
        if since is not None:
            self._metrics.queue_seconds.observe(time.perf_counter() - since)
        return self._decoder.pixels(read, spec, limits)

    def upright(self, frame: bytes) -> Pixels:
        """A camera's frame as it is, uint8[H,W,3]; in the thread that decodes. Raises BadImage."""
        return self._decoder.upright(frame, self._settings.live_image_limits)

    def denoised(self, denoise: Filter, frame: bytes) -> Pixels:
        """The same, filtered. Raises BadImage."""
        header = read_header(frame, TransformSpec(), self._settings.live_image_limits)
        if header.width * header.height > MOST_FILTERED:
            most = f"The filter takes frames up to {MOST_FILTERED / 1e6:.0f} megapixels"
            raise BadImage(
                "too_many_pixels", f"{most}, and this one is {header.width}×{header.height}; send smaller ones."
            )
        return self._decoder.denoised(self.upright(frame), denoise)

    async def close(self) -> None:
        """Finishes what was accepted."""
        self.ready, self.why_not_ready = False, "the server is shutting down"
        await self.scheduler.close()

    def _load(self, variant: Variant) -> Classifier:
        self._artefacts.pop(variant, None)
        early = self._early.take(variant) if self._early else None
        if early:
            artefact, classifier = early
        else:
            artefact = self.artefact(variant)
            classifier = engines.load(artefact, threads=self._settings.threads, device=self._settings.device)
        self._artefacts[variant] = artefact
        log.info("loaded", variant=str(variant))
        return classifier
