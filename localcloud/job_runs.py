"""Glue's part: the job's script from S3, in a process with Spark, and what became of it."""

from __future__ import annotations

import json
import os
import shlex
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.glue.models import FakeJob

from localcloud.aws import Aws
from localcloud.folder import Folder
from localcloud.glue_patches import JobRun
from localcloud.processes import Child, how_it_ended
from localcloud.settings import Settings
from localcloud.spark import GluePython, Spark, SparkMissing

_LEASH = Path(__file__).parent / "leash.py"
_TICK_SECONDS = 0.1
_TAIL_LINES = 20
_MESSAGE_CHARACTERS = 1000  # a failure within Spark brings all of Java's stack along
_FOREVER = float("inf")


class JobFailed(Exception):
    """The run cannot go on. Its text is the run's error message."""


class JobRuns:
    """Runs what was started. Each run has a thread; MaxConcurrentRuns bounds how many there are."""

    def __init__(self, settings: Settings, aws: Aws, spark: Spark, folder: Folder) -> None:
        self._settings = settings
        self._aws = aws
        self._spark = spark
        self._folder = folder
        self._stopping = threading.Event()
        self._threads: set[threading.Thread] = set()

    def accept(self, job: FakeJob, run: JobRun) -> None:
        """Takes a run and returns."""
        thread = threading.Thread(target=self._settle, args=(job, run), daemon=True)
        self._threads.add(thread)
        thread.start()

    def close(self) -> None:
        """Ends what runs, with all that it started."""
        self._stopping.set()
        for thread in tuple(self._threads):
            thread.join()

    def _settle(self, job: FakeJob, run: JobRun) -> None:
        """Whatever happens, the run ends in a state."""
        _say(run, "starts")
        try:
            state, message = self._run(job, run)
        except (JobFailed, SparkMissing) as failed:
            state, message = "FAILED", str(failed)
        except (BotoCoreError, ClientError, OSError) as error:
            state, message = "FAILED", f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001  # a run must not stay RUNNING for ever
            traceback.print_exc()
            state, message = "FAILED", f"the stand-in failed: {type(error).__name__}: {error}"
        again = run.retry() if state == "FAILED" and run.attempt < (job.max_retries or 0) else None
        if again:
            job.job_runs.append(again)
        run.end(state, message)
        _say(run, f"{state}{f': {message}' if message else ''}")
        if state == "FAILED":
            self._print_tail(run)
        if again and not self._stopping.is_set():
            self.accept(job, again)
        self._threads.discard(threading.current_thread())

    def _run(self, job: FakeJob, run: JobRun) -> tuple[str, str]:
        if not self._wait_for_spark(run):
            return "STOPPED", ""
        python = self._spark.python()
        with TemporaryDirectory(dir=self._folder.scratch, prefix="run-") as name:
            folder = Path(name)
            arguments = dict(run.arguments or {})
            script = self._download(str(_command(job)["ScriptLocation"]), folder)
            locations = arguments.get("--extra-py-files", "").split(",")
            modules = [self._download(each.strip(), folder) for each in locations if each.strip()]
            # Under the leash, so that a killed stand-in leaves no Spark behind.
            command = [python.path, "-u", str(_LEASH), str(folder / "report.json"), str(script)]
            for key, value in {"--JOB_NAME": job.name, "--JOB_RUN_ID": run.job_run_id, **arguments}.items():
                command += [key, str(value)]
            with self._log(run).open("wb") as log:
                child = Child(command, folder, self._environment(python, folder, modules), log)
                run.status = "RUNNING"
                return self._watch(run, child, folder / "report.json")

    def _wait_for_spark(self, run: JobRun) -> bool:
        """False when the run was stopped while it waited."""
        while not self._spark.settled:
            run.status = "WAITING"
            if run.stop_asked.wait(_TICK_SECONDS) or self._stopping.is_set():
                return False
        run.status = "STARTING"
        return True

    def _watch(self, run: JobRun, child: Child, report: Path) -> tuple[str, str]:
        minutes = run.timeout or None
        seconds = minutes * self._settings.glue_minute_seconds if minutes else _FOREVER
        ended = child.wait(seconds, run.stop_asked, self._stopping)
        if ended is None and (run.stop_asked.is_set() or self._stopping.is_set()):
            run.status = "STOPPING"
            child.end()
            return "STOPPED", ""
        code = child.end()
        if ended is None:
            return "TIMEOUT", f"The run took longer than its time-out of {minutes} min"
        if code == 0:
            return "SUCCEEDED", ""
        raise JobFailed(_why(report, code))

    def _environment(self, python: GluePython, folder: Path, modules: list[Path]) -> dict[str, str]:
        files = ",".join(map(str, modules))
        options = [
            *("--master", self._settings.spark_master, "--driver-memory", self._settings.spark_memory),
            *("--conf", "spark.ui.enabled=false", "--conf", f"spark.local.dir={folder}"),
            # A run lives for seconds, and its work is done in Python: the JVM need not compile for hours to come.
            *("--driver-java-options", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"),
            *("--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"),
            *(("--py-files", files) if files else ()),
        ]
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "JAVA_HOME") if name in os.environ}
        own = {
            "PYTHONPATH": os.pathsep.join(map(str, modules)),
            "PYSPARK_PYTHON": python.path,
            "PYSPARK_DRIVER_PYTHON": python.path,
            "PYSPARK_SUBMIT_ARGS": shlex.join([*options, "pyspark-shell"]),  # PySpark splits it so
            "SPARK_LOCAL_IP": "127.0.0.1",
            "TMPDIR": str(folder),
            # PySpark forks its workers, and a Mac kills a fork that asks the system for proxies, as boto3 does.
            "NO_PROXY": "*",
            "no_proxy": "*",
            "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
        }
        java = {"JAVA_HOME": python.java_home} if python.java_home else {}
        return {**kept, **own, **java, **self._aws.environment}

    def _download(self, location: str, folder: Path) -> Path:
        bucket, _, key = location.removeprefix("s3://").partition("/")
        target = folder / Path(key).name
        try:
            self._aws.client("s3").download_file(bucket, key, str(target))
        except ClientError as error:
            raise JobFailed(f"{location} cannot be had: {error}") from None
        return target

    def _log(self, run: JobRun) -> Path:
        return self._folder.logs / f"{run.job_run_id}.log"

    def _print_tail(self, run: JobRun) -> None:
        with suppress(FileNotFoundError):
            for line in self._log(run).read_text(errors="replace").splitlines()[-_TAIL_LINES:]:
                print(f"Glue:   {line}", flush=True)
            print(f"Glue:   (all of it: {self._log(run)})", flush=True)


def _command(job: FakeJob) -> Mapping[str, Any]:
    command: Any = job.command  # moto says str; it is the API's structure
    return command  # type: ignore[no-any-return]


def _why(report: Path, code: int) -> str:
    """As Glue says it: "ValueError: no images"."""
    with suppress(FileNotFoundError):
        told = json.loads(report.read_text(encoding="utf-8"))
        return f"{told['errorType']}: {told['errorMessage']}"[:_MESSAGE_CHARACTERS]
    memory = ", perhaps because the memory was used up" if code == -9 else ""
    return f"The job's process ended {how_it_ended(code)}{memory}"


def _say(run: JobRun, words: str) -> None:
    print(f"Glue: {run.job_name} {run.job_run_id[:11]} {words}", flush=True)
