"""`python -m backend`: the server as a process."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time

from pydantic import ValidationError

from backend.early import EarlyLoad
from backend.settings import Settings
from inference.artefacts import ArtefactStore
from inference.card import BadCard
from inference.choice import ModelMissing, ModelUnknown, choose

_WAITED_FOR = {
    "batch": "S3 did not answer",
    "load": "a model was being loaded",
    "resolve": "a name server did not answer",
}
_DECODING = "a picture was still being decoded"


def main() -> int:
    """Serves until SIGINT or SIGTERM, then finishes what was accepted. 1: could not start, and said why."""
    gc.disable()  # of what is imported nothing ever goes
    try:
        settings = Settings()
        store = ArtefactStore(settings.models_dir)
        artefact = store.get(choose(store, settings.model, settings.precision, settings.device).variant)
        listener = _listen(settings.host, settings.port)
    except ValidationError as error:
        first = error.errors()[0]
        return _cannot_start(f"the setting NINEFOLD_{str(first['loc'][0]).upper()} is wrong: {first['msg']}.")
    except (ModelMissing, ModelUnknown, BadCard) as error:
        return _cannot_start(str(error))
    except OSError as error:
        return _cannot_start(f"port {settings.port} cannot be had ({error.strerror}); choose another by NINEFOLD_PORT.")
    early = EarlyLoad(artefact, settings.threads, settings.device) if artefact else None
    return _serve(settings, listener, early)


def _serve(settings: Settings, listener: socket.socket, early: EarlyLoad | None) -> int:
    # What takes a second to import comes while the model is being loaded.
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    from backend.app import create_app  # noqa: PLC0415
    from backend.batches.job_runs import JobRuns  # noqa: PLC0415
    from backend.connections import uvicorn_config  # noqa: PLC0415
    from backend.draining import DrainingServer  # noqa: PLC0415
    from backend.logs import configure_logs  # noqa: PLC0415

    try:
        if settings.bucket:
            JobRuns(settings.glue_job, settings.glue_endpoint or settings.s3_endpoint)
    except BotoCoreError as error:
        return _cannot_start(f"NINEFOLD_BUCKET is set, and boto3 is not: {error} AWS_DEFAULT_REGION names a region.")
    configure_logs(settings.log_format)
    app = create_app(settings, early)
    server = DrainingServer(uvicorn_config(app, settings), app, settings.drain_seconds)
    gc.freeze()
    gc.enable()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # the second Ctrl-C, which uvicorn passes on
    finally:
        _leave()
    return 0


def _leave() -> None:
    """Ends the process even while a picture is decoded or S3 is waited for: Python would wait for those threads."""
    deadline = time.monotonic() + 1
    for thread in threading.enumerate():
        if thread.name.startswith(("inference", "decode", *_WAITED_FOR)):
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                what = next((why for kind, why in _WAITED_FOR.items() if thread.name.startswith(kind)), _DECODING)
                print(f"ninefold: ended while {what}", file=sys.stderr, flush=True)
                sys.stdout.flush()
                os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _cannot_start(message: str) -> int:
    print(f"ninefold: the server cannot start: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
