"""The composition root: the only place that knows all parts of the server, and puts them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from backend.api import batches, errors, evaluation, live, predict, status, tokens, v2
from backend.api.bodies import Bodies
from backend.api.hosts import KnownHosts, hosts_of
from backend.api.middleware import BodyLimit, RequestRecord
from backend.batches.job_runs import JobRuns
from backend.batches.prediction import MOST_TOGETHER, Answering
from backend.batches.preprocessing import start_preprocessing
from backend.batches.service import Batches
from backend.batches.storage import Storage
from backend.batches.view import BatchView
from backend.batches.views import Views
from backend.batches.worker import Worker
from backend.early import EarlyLoad
from backend.live.looking import Looks
from backend.live.sessions import Sessions
from backend.live.shared import SharedDetector, SharedFilter, Trackers
from backend.metrics import Metrics
from backend.predictor import Predictor
from backend.settings import Settings
from inference.artefacts import ArtefactStore
from inference.scheduler import Priority

VERSION = "0.1.0"
DESCRIPTION = "What is on a picture: one to nine at a time, a thousand classes, several models."


def create_app(settings: Settings, early: EarlyLoad | None = None) -> FastAPI:
    """The server. It is ready once the lifespan's warm-up has got the golden image's expected answer.

    `early`: the default variant, where its loading was begun before.
    """
    metrics = Metrics(settings.drift_reference)
    metrics.built(VERSION, settings.revision)
    store = ArtefactStore(settings.models_dir)
    bodies = Bodies(settings.body_memory_bytes, settings.stall_seconds)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        predictor = app.state.predictor = Predictor(settings, store, metrics, early)
        warm_up = asyncio.create_task(predictor.warm_up())
        follow = asyncio.create_task(predictor.follow())
        with closing(_looks(settings, store, predictor)) as app.state.looks, _fetching(app, settings):
            async with _batches(app, settings, predictor, metrics):
                yield
        follow.cancel()
        await warm_up
        await predictor.close()
        bodies.close()

    app = FastAPIOffline(title="Ninefold", version=VERSION, description=DESCRIPTION, lifespan=lifespan)
    app.state.settings, app.state.metrics, app.state.store = settings, metrics, store
    app.state.bodies, app.state.fetch, app.state.draining = bodies, None, False
    app.state.live = Sessions(settings.live_sessions, metrics)
    for part in (predict, live, v2, batches, status, evaluation, tokens):
        app.include_router(part.router)
    errors.install(app)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, stall_seconds=settings.stall_seconds)
    _ask_for_keys(app, settings, metrics)
    _answer_to_its_names(app, settings)
    app.add_middleware(RequestRecord, metrics=metrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["content-type", "authorization", "x-api-key", "inference-header-content-length"],
            expose_headers=["Retry-After", "X-Request-ID", "Inference-Header-Content-Length"],
            max_age=600,
        )
    return app


def _ask_for_keys(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Keys and tokens, where there is a file of keys; else the application takes everybody."""
    app.state.keys = app.state.tokens = None
    if settings.keys_file is None:
        return
    from backend.access.keys import KeyRing  # noqa: PLC0415  # a tenth of a second that no other server need wait
    from backend.access.middleware import Access  # noqa: PLC0415
    from backend.access.tokens import Tokens  # noqa: PLC0415

    ring = KeyRing(settings.keys_file)
    app.state.keys, app.state.tokens = ring, Tokens(ring)
    app.add_middleware(Access, ring=ring, tokens=app.state.tokens, metrics=metrics)


def _answer_to_its_names(app: FastAPI, settings: Settings) -> None:
    """Refuses what was meant for another host, where it is known what this one is called."""
    hosts = hosts_of(settings.host, settings.host_names)
    if hosts is not None:
        app.add_middleware(KnownHosts, hosts=hosts)


def _looks(settings: Settings, store: ArtefactStore, predictor: Predictor) -> Looks:
    """What a camera's frames may be asked."""
    detector = SharedDetector(predictor, store, settings.detector, settings.device)
    return Looks(predictor, detector, SharedFilter(settings.device), Trackers())


@contextmanager
def _fetching(app: FastAPI, settings: Settings) -> Iterator[None]:
    """What fetches pictures by their addresses, where that is allowed."""
    if not settings.fetch_urls:
        yield
        return
    import httpcore  # noqa: PLC0415  # nothing that other servers need wait for

    from backend.fetching import Fetcher  # noqa: PLC0415
    from backend.guard import Guard, SystemResolver  # noqa: PLC0415

    resolver = SystemResolver(settings.fetch_at_once)
    app.state.fetch = Fetcher(
        Guard(resolver, httpcore.AnyIOBackend()),
        ports=settings.ports_to_fetch_from,
        seconds=settings.fetch_seconds,
        max_bytes=settings.image_limits.max_bytes,
        at_once=settings.fetch_at_once,
    ).fetch
    try:
        yield
    finally:
        resolver.close()


@asynccontextmanager
async def _batches(app: FastAPI, settings: Settings, predictor: Predictor, metrics: Metrics) -> AsyncIterator[None]:
    """The batches and their worker, where there is a bucket for them."""
    app.state.batches = None
    if settings.bucket is None:
        yield
        return
    storage = Storage(settings.bucket, settings.s3_endpoint, settings.s3_public_endpoint)
    job_runs = JobRuns(settings.glue_job, settings.glue_endpoint or settings.s3_endpoint)
    views = Views(storage, job_runs)

    def restart(view: BatchView) -> None:
        spec = predictor.artefact(predictor.choice.variant).card.transform
        start_preprocessing(storage, job_runs, view, spec)

    worker = Worker(
        storage,
        views,
        Answering(
            ready=lambda: predictor.ready,
            artefact=predictor.artefact,
            submit=lambda variant, pixels: predictor.scheduler.submit(variant, pixels, Priority.BULK),
            together=min(MOST_TOGETHER, settings.queue_images // 2),  # two submissions wait at a time
            answered=metrics.answers.note_rows,
        ),
        restart,
        metrics.record_rows,
        lambda outcome: metrics.batch_predictions.labels(outcome).inc(),
    )
    metrics.watch_batches(lambda: worker.states)
    app.state.batches = Batches(
        storage, job_runs, views, predictor.artefact, settings.max_zip_bytes, worker.look_at, worker.dropped
    )
    try:
        yield
    finally:
        await worker.close()
