"""The stand-in as the process people start, on a free port, with code of the test's own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

import httpx

from localcloud.aws import Aws
from localcloud.settings import VARIABLES

ROOT = Path(__file__).parents[2]
JOB = "ninefold-preprocess"
BUCKET = "ninefold"
STARTS_A_RUN = """
import os, boto3
from urllib.parse import unquote_plus

def handler(event, context):
    for record in event["Records"]:
        key = unquote_plus(record["s3"]["object"]["key"])
        boto3.client("glue").start_job_run(JobName=os.environ["GLUE_JOB"], Arguments={"--key": key})
"""
WRITES_ITS_ARGUMENTS = """
import json, os, sys, boto3
boto3.client("s3").put_object(Bucket="ninefold", Key="seen.json", Body=json.dumps(sys.argv[1:]))
"""


class Cloud:
    """A running stand-in: its address, the environment for whoever uses it, and clients.

    `folder` is the test's own; `data`, perhaps in there, is where the stand-in keeps what it has.
    """

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: IO[bytes], folder: Path, data: Path) -> None:
        self.url = url
        self.process = process
        self.folder = folder
        self.data = data
        self._log = log
        aws = Aws(url)
        self.env = aws.environment
        self.s3, self.glue, self.functions, self.sqs = (aws.client(name) for name in ("s3", "glue", "lambda", "sqs"))

    @property
    def said(self) -> str:
        """All it printed so far."""
        return os.pread(self._log.fileno(), 10_000_000, 0).decode(errors="replace")

    def wait_until_ready(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            assert self.process.poll() is None, f"the stand-in ended: {self.said}"
            assert time.monotonic() < deadline, f"not ready after {seconds} s: {self.said}"
            time.sleep(0.02)

    def stop(self, seconds: float = 10) -> str:
        """Ends it by SIGTERM, unless it has ended; returns what it printed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return self.said

    def text(self, key: str) -> str | None:
        """An object of the bucket; None where there is none."""
        try:
            return str(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode())
        except self.s3.exceptions.NoSuchKey:
            return None

    def start(self, **arguments: str) -> str:
        """A job run with these `--name value`; its id."""
        named = {f"--{name}": value for name, value in arguments.items()}
        return str(self.glue.start_job_run(JobName=JOB, Arguments=named)["JobRunId"])

    def run(self, run_id: str) -> dict[str, Any]:
        """What Glue says of the run."""
        found: dict[str, Any] = self.glue.get_job_run(JobName=JOB, RunId=run_id)["JobRun"]
        return found

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the newest first."""
        found: list[dict[str, Any]] = self.glue.get_job_runs(JobName=JOB)["JobRuns"]
        return found

    def wait_for_run(self, run_id: str, *states: str, seconds: float = 20) -> dict[str, Any]:
        """The run, once it is in one of the states (by default: has ended)."""
        wanted = states or ("SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED")
        wait_until(
            lambda: self.run(run_id)["JobRunState"] in wanted, seconds, lambda: f"{self.run(run_id)}\n{self.said}"
        )
        return self.run(run_id)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/_ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def cloud(
    *,
    function: str | Mapping[str, str] = STARTS_A_RUN,
    script: str = WRITES_ITS_ARGUMENTS,
    modules: Mapping[str, str] | None = None,
    ready: bool = True,
    **settings: object,
) -> Iterator[Cloud]:
    """`python -m localcloud` as a process of its own.

    `function` and `modules` are source texts that are zipped (the first one's file is start_preprocessing.py where it
    is one text); `settings` are those of localcloud.settings by their names. Without `code_dir` the built code is these
    texts; without `glue_python` job runs get this Python, which has no Spark. Lambda's pauses are short.
    """
    files = {"start_preprocessing.py": function} if isinstance(function, str) else function
    # Outside the repository's file system paths, so that nothing is found by chance; a log file, since a pipe fills up.
    with TemporaryDirectory(prefix="cloud-test-") as name, TemporaryFile() as log:
        folder = Path(name).resolve()  # a Mac's is a link
        code = folder / "code"
        code.mkdir()
        (code / "lambda.zip").write_bytes(zipped(files))
        (code / "modules.zip").write_bytes(zipped(modules or {}))
        (code / "preprocess.py").write_text(script)
        given: dict[str, object] = {
            "port": 0,
            "folder": folder / "cloud",
            "code_dir": code,
            "glue_python": sys.executable,
            "lambda_retry_seconds": "0.2,0.4",
            **settings,
        }
        environment = {VARIABLES[key][0]: str(value) for key, value in given.items()}
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "localcloud"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: _address(log) is not None or process.poll() is not None, 60, lambda: _said(log))
            started = Cloud(_address(log) or "http://127.0.0.1:9", process, log, folder, Path(str(given["folder"])))
            if ready:
                started.wait_until_ready()
            yield started
            started.stop()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def zipped(files: Mapping[str, str]) -> bytes:
    """A zip of these texts."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def wait_until(true: Callable[[], bool], seconds: float, else_say: Callable[[], object] = lambda: "") -> None:
    """Fails with words when it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {else_say()}"
        time.sleep(0.05)


def _said(log: IO[bytes]) -> str:
    return os.pread(log.fileno(), 10_000_000, 0).decode(errors="replace")


def _address(log: IO[bytes]) -> str | None:
    found = [
        line.split()[5].rstrip(";") for line in _said(log).splitlines() if line.startswith("S3, Lambda and Glue at ")
    ]
    return found[0] if found else None
