"""Spark: runs wait while it is installed, fail with the reason when it cannot be, and use it when it is there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from localcloud.spark import Spark, SparkMissing
from scripts.glue_venv import INTERPRETER
from tests.localcloud.clouds import JOB, Cloud, cloud, wait_until

INSTALLER = """
import pathlib, sys, time
print("Fetching", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
print(sys.executable)
"""
SPARK_SCRIPT = """
import sys, time
from operator import add
from pyspark.sql import SparkSession
import words

context = SparkSession.builder.getOrCreate().sparkContext
if "--sleep" in sys.argv:
    def wait(number, flag=sys.argv[-1]):
        open(flag + str(number), "w").close()
        time.sleep(100)
    context.parallelize(range(2), 2).foreach(wait)
lengths = context.parallelize(range(100), 4).map(lambda number: len(words.name(number))).reduce(add)
import boto3, json, pathlib
facts = {"lengths": lengths, "master": context.master, "ui": context.getConf().get("spark.ui.enabled")}
boto3.client("s3").put_object(Bucket="ninefold", Key="facts.json", Body=json.dumps(facts))
"""


def notice(aws: Cloud) -> str:
    text = aws.text("notice.json")
    return str(json.loads(text)["message"]) if text else "no notice yet"


def test_runs_wait_for_spark_and_visitors_read_why(tmp_path: Path) -> None:
    installer, flag = tmp_path / "installer.py", tmp_path / "flag"
    installer.write_text(INSTALLER)
    with cloud(glue_python="", glue_python_command=f"{sys.executable} {installer} {flag}") as aws:
        expected = "Spark is being installed (Fetching). Uploads are accepted; preprocessing begins when it is there."
        wait_until(lambda: notice(aws) == expected, 10, lambda: notice(aws))
        aws.s3.put_object(Bucket="ninefold", Key="uploads/a/b.zip", Body=b"x")
        wait_until(lambda: bool(aws.runs()), 10, lambda: aws.said)
        waiting = aws.wait_for_run(aws.runs()[0]["Id"], "WAITING")
        stopped = aws.start()
        aws.wait_for_run(stopped, "WAITING")
        aws.glue.batch_stop_job_run(JobName=JOB, JobRunIds=[stopped])
        aws.wait_for_run(stopped, "STOPPED")
        flag.touch()
        assert aws.wait_for_run(waiting["Id"])["JobRunState"] == "SUCCEEDED"
        wait_until(lambda: notice(aws) == "", 5, lambda: notice(aws))
        assert "uploads/a/b.zip" in (aws.text("seen.json") or "")


def test_without_spark_runs_fail_with_the_reason() -> None:
    installer = "sh -c 'echo at work; echo ninefold: no network. >&2; exit 1'"
    with cloud(glue_python="", glue_python_command=installer) as aws:
        run = aws.wait_for_run(aws.start())
        assert (run["JobRunState"], run["ErrorMessage"]) == ("FAILED", "no network.")
        expected = "Spark could not be installed, so zips cannot be preprocessed: no network."
        wait_until(lambda: notice(aws) == expected, 5, lambda: notice(aws))


@pytest.mark.parametrize(
    ("python", "command", "reason"),
    [
        (None, ["sh", "-c", "exit 3"], "it ended with exit code 3."),
        (None, ["sh", "-c", "kill -9 $$"], "it ended by signal SIGKILL."),
        (None, ["/not/there"], "/not/there cannot be started (No such file or directory)."),
        (None, ["echo", "/not/there/python"], "there is no /not/there/python."),
        ("/not/there/python", [], "there is no /not/there/python."),
    ],
)
def test_each_way_to_have_no_spark_has_its_sentence(python: str | None, command: list[str], reason: str) -> None:
    notices: list[str] = []
    spark = Spark(python, command, notices.append)
    spark.start()
    wait_until(lambda: spark.settled, 10)
    with pytest.raises(SparkMissing, match=re.escape(reason)):
        spark.python()
    assert notices == [f"Spark could not be installed, so zips cannot be preprocessed: {reason}"]


@pytest.mark.parametrize(
    ("program", "mode", "reason"),
    [
        ("exit 0", 0o644, "{} cannot be started (Permission denied)."),
        ("echo hello", 0o755, "{} does not answer as a Python does."),
        ("exec sleep 20", 0o755, "{} did not answer within 0.2 s."),
    ],
)
def test_what_is_no_python_is_no_spark_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, mode: int, reason: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(mode)
    monkeypatch.setattr("localcloud.spark._PROBE_SECONDS", 0.2 if "sleep" in program else 30)
    spark = Spark(str(python), [], lambda _: None)
    spark.start()
    wait_until(lambda: spark.settled, 10)
    with pytest.raises(SparkMissing, match=re.escape(reason.format(python))):
        spark.python()


def test_whatever_goes_wrong_nobody_waits_for_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_python: str) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("localcloud.spark._java_of", fail)
    spark = Spark(sys.executable, [], lambda _: None)
    spark.start()
    wait_until(lambda: spark.settled, 10)
    with pytest.raises(SparkMissing, match="RuntimeError: can't start new thread"):
        spark.python()


def test_the_last_line_of_the_installer_is_the_python(tmp_path: Path) -> None:
    notices: list[str] = []
    spark = Spark(None, ["sh", "-c", f"echo one …; echo {sys.executable}"], notices.append)
    spark.start()
    wait_until(lambda: spark.settled, 30)
    assert spark.python().path == sys.executable
    assert notices[0].startswith("Spark is being installed (one).")
    assert notices[-1] == ""


def test_an_installation_under_way_is_ended_with_all_that_it_started() -> None:
    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    spark = Spark(None, ["sh", "-c", "sleep 1000; true"], lambda _: None)
    spark.start()
    wait_until(lambda: "sleep" in {child.name() for child in set(mine.children(recursive=True)) - before}, 10)
    children = set(mine.children(recursive=True)) - before
    spark.close()
    assert spark.settled
    # Asked to end they are; a busy machine takes its time to do it.
    _, left = psutil.wait_procs(children, timeout=10)
    assert not [child for child in left if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One whose folder's name has a space."""
    if not INTERPRETER.exists():
        pytest.skip(f"there is no {INTERPRETER} (python -m scripts.glue_venv makes it)")
    modules = {"words.py": "def name(number): return 'n' * number"}
    with cloud(
        script=SPARK_SCRIPT,
        modules=modules,
        folder=tmp_path_factory.mktemp("spark") / "a folder",
        glue_python=INTERPRETER,
        spark_master="local[2]",
        spark_memory="512m",
    ) as started:
        yield started


def test_a_script_with_spark_runs_with_the_modules_of_the_job(spark: Cloud) -> None:
    run = spark.wait_for_run(spark.start(), seconds=60)
    assert run["JobRunState"] == "SUCCEEDED", f"{run}\n{spark.said}"
    assert json.loads(spark.text("facts.json") or "") == {"lengths": 4950, "master": "local[2]", "ui": "false"}


def test_a_stopped_run_leaves_neither_java_nor_workers(spark: Cloud, tmp_path: Path) -> None:
    run_id = spark.start(sleep=str(tmp_path / "at-work-"))
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 60, lambda: spark.said)
    children = psutil.Process(spark.process.pid).children(recursive=True)
    assert {"java"} <= {child.name() for child in children}
    spark.glue.batch_stop_job_run(JobName=JOB, JobRunIds=[run_id])
    spark.wait_for_run(run_id, "STOPPED")
    alive = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    psutil.wait_procs(alive, timeout=5)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
