"""`python -m localcloud`: the stand-in as a process, until SIGINT or SIGTERM."""

from __future__ import annotations

import ctypes
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from localcloud import glue_patches, lambda_patches, resources, s3_patches
from localcloud.aws import Aws
from localcloud.functions import Functions
from localcloud.job_runs import JobRuns
from localcloud.notice import Notice
from localcloud.resources import CodeMissing
from localcloud.server import PortTaken, Server
from localcloud.settings import BadSetting, Settings
from localcloud.spark import Spark, installing

_M_MMAP_THRESHOLD = -3


def main() -> int:
    """0 after SIGINT or SIGTERM; 1: could not start, and said why."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = Settings.read()
        if not settings.empty:
            resources.require_code(settings.code_dir)
        with _folder(settings) as folder, _running(settings, folder) as server:
            print(f"S3, Lambda and Glue at {_url(settings, server)}; bucket {settings.bucket}", flush=True)
            stop.wait()
    except PortTaken as taken:
        return _cannot_start(f"{taken}; NINEFOLD_CLOUD_PORT names another.")
    except (BadSetting, CodeMissing) as error:
        return _cannot_start(f"{error}.")
    return 0


@contextmanager
def _running(settings: Settings, folder: Path) -> Iterator[Server]:
    """All parts, wired; ended in the order in which nobody misses anybody."""
    server = Server(settings.host, settings.port, settings.page_origins)
    aws = Aws(_url(settings, server))
    notice = Notice(aws, settings.bucket)
    spark = Spark(settings.glue_python, settings.glue_python_command, notice.say)
    functions = Functions(aws, folder, settings.lambda_retry_seconds)
    runs = JobRuns(settings, aws, spark, folder)
    s3_patches.install()
    lambda_patches.install(functions)
    glue_patches.install(runs.accept)
    server.start()
    try:
        notice.say("" if settings.glue_python else installing("it begins"))
        spark.start()
        if not settings.empty:
            resources.create(settings, aws)
        notice.start()
        server.ready.set()
        yield server
    finally:
        for part in (functions, runs, spark, notice, server):
            part.close()


@contextmanager
def _folder(settings: Settings) -> Iterator[Path]:
    """Where everything lies. Objects are nameless files there: they are gone with the process, even a killed one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # each larger object is an open file
    _return_large_blocks()
    if settings.folder:
        settings.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ninefold-cloud-") as scratch:
        folder = (settings.folder or Path(scratch)).resolve()
        tempfile.tempdir = str(folder)
        yield folder
        tempfile.tempdir = None


def _return_large_blocks() -> None:
    """glibc keeps freed blocks of up to 32 MB once it has seen some: here those are the parts of uploads."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def _url(settings: Settings, server: Server) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  # compared, not bound
    return f"http://{host}:{server.port}"


def _cannot_start(message: str) -> int:
    print(f"ninefold: the stand-in for S3, Lambda and Glue cannot start: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
