"""`python -m backend`: the server as a process."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

import uvicorn
from botocore.exceptions import BotoCoreError
from pydantic import ValidationError

from backend.app import create_app
from backend.batches.job_runs import JobRuns
from backend.logs import configure_logs
from backend.settings import Settings
from inference.artefacts import ArtefactStore
from inference.card import BadCard
from inference.choice import ModelMissing, ModelUnknown, choose


def main() -> int:
    """Serves until SIGINT or SIGTERM, then finishes what was accepted. 1: could not start, and said why."""
    try:
        settings = Settings()
        choose(ArtefactStore(settings.models_dir), settings.model, settings.precision)
        if settings.bucket:
            JobRuns(settings.glue_job, settings.glue_endpoint or settings.s3_endpoint)
        listener = _listen(settings.host, settings.port)
    except ValidationError as error:
        first = error.errors()[0]
        return _cannot_start(f"the setting NINEFOLD_{str(first['loc'][0]).upper()} is wrong: {first['msg']}.")
    except (ModelMissing, ModelUnknown, BadCard) as error:
        return _cannot_start(str(error))
    except BotoCoreError as error:
        return _cannot_start(f"NINEFOLD_BUCKET is set, and boto3 is not: {error} AWS_DEFAULT_REGION names a region.")
    except OSError as error:
        return _cannot_start(f"port {settings.port} cannot be had ({error.strerror}); choose another by NINEFOLD_PORT.")
    configure_logs(settings.log_format)
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    uvicorn.Server(config).run(sockets=[listener])
    _leave()
    return 0


def _leave() -> None:
    """Ends the process even while a picture is decoded or S3 is waited for: Python would wait for those threads."""
    deadline = time.monotonic() + 1
    for thread in threading.enumerate():
        if thread.name.startswith(("decode", "batch")):
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                what = "a picture was still being decoded" if thread.name.startswith("decode") else "S3 did not answer"
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
