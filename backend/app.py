"""The composition root: the only place that knows all parts of the server, and puts them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from backend.api import errors, predict, status
from backend.api.middleware import BodyLimit, RequestRecord
from backend.metrics import Metrics
from backend.predictor import Predictor
from backend.settings import Settings
from inference.artefacts import ArtefactStore

DESCRIPTION = "What is on a picture: one to nine at a time, a thousand classes, several models."


def create_app(settings: Settings) -> FastAPI:
    """The server. It is ready once the lifespan's warm-up has got the golden image's expected answer."""
    metrics = Metrics()
    store = ArtefactStore(settings.models_dir)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        predictor = app.state.predictor = Predictor(settings, store, metrics)
        warm_up = asyncio.create_task(predictor.warm_up())
        yield
        await warm_up
        await predictor.close()

    app = FastAPIOffline(title="Ninefold", version="0.1.0", description=DESCRIPTION, lifespan=lifespan)
    app.state.settings, app.state.metrics, app.state.store = settings, metrics, store
    app.include_router(predict.router)
    app.include_router(status.router)
    errors.install(app)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, stall_seconds=settings.stall_seconds)
    app.add_middleware(RequestRecord, metrics=metrics)
    return app
