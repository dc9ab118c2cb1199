"""`python -m localcloud`: the stand-in as a process, until SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from localcloud import glue_patches, lambda_patches, resources, s3_patches
from localcloud.aws import Aws
from localcloud.folder import Folder, FolderTaken, prepared
from localcloud.functions import Functions
from localcloud.job_runs import JobRuns
from localcloud.names import Names
from localcloud.notice import Notice
from localcloud.resources import CodeMissing
from localcloud.server import PortTaken, Server
from localcloud.settings import BadSetting, Settings
from localcloud.spark import Spark, installing


def main() -> int:
    """0 after SIGINT or SIGTERM; 1: could not start, and said why."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = Settings.read()
        if not settings.empty:
            resources.require_code(settings.code_dir)
        with prepared(settings.folder) as folder, _running(settings, folder) as server:
            if folder.used_before:
                print(_what_is_gone(folder), flush=True)
            print(f"S3, Lambda and Glue at {_url(settings, server)}; bucket {settings.bucket}", flush=True)
            stop.wait()
    except PortTaken as taken:
        return _cannot_start(f"{taken}; NINEFOLD_CLOUD_PORT names another.")
    except FolderTaken as taken:
        return _cannot_start(f"{taken}; NINEFOLD_CLOUD_DIR names another.")
    except (BadSetting, CodeMissing) as error:
        return _cannot_start(f"{error}.")
    return 0


@contextmanager
def _running(settings: Settings, folder: Folder) -> Iterator[Server]:
    """All parts, wired; ended in the order in which nobody misses anybody."""
    server = Server(settings.host, settings.port, settings.page_origins, Names.of(settings))
    aws = Aws(_url(settings, server))
    notice = Notice(aws, settings.bucket)
    spark = Spark(settings.glue_python, settings.glue_python_command, notice.say)
    functions = Functions(aws, folder.scratch, settings.lambda_retry_seconds)
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


def _url(settings: Settings, server: Server) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  # compared, not bound
    return f"http://{host}:{server.port}"


def _what_is_gone(folder: Folder) -> str:
    return (
        "Another one ran in this folder before: its buckets with all uploads and results, and the events that waited, "
        f"are gone; the logs of its job runs are in {folder.logs}."
    )


def _cannot_start(message: str) -> int:
    print(f"ninefold: the stand-in for S3, Lambda and Glue cannot start: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
