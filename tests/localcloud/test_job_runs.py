"""Glue: the job's own script runs, with its arguments, and its end is told as Glue tells it."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.localcloud.clouds import JOB, Cloud, cloud, wait_until

SCRIPT = """
import json, os, subprocess, sys, time

argv = sys.argv[1:]
arguments = dict(zip(argv[::2], argv[1::2]))
aside = open(arguments["--pids"], "w") if "--pids" in arguments else None

def tell():
    import boto3
    import extra
    facts = {"arguments": arguments, "extra": extra.WORD, "environment": dict(os.environ), "path": sys.path,
             "main": __name__, "file": __file__, "python": sys.executable}
    boto3.client("s3").put_object(Bucket="ninefold", Key="told.json", Body=json.dumps(facts))

def fail():
    print("a line before the end")
    raise ValueError("no image in the zip\\nsecond line")

def leave(): sys.exit("nothing to do here")
def leave_with_a_number(): sys.exit(4)
def leave_at_once(): os._exit(7)
def succeed(): sys.exit(0)

def sleep():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    aside.write(f"{os.getpid()} {child.pid}\\n")
    aside.close()
    time.sleep(100)

globals()[arguments["--do"]]()
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One whose folder's name has a space."""
    modules, folder = {"extra.py": "WORD = 'found'"}, tmp_path_factory.mktemp("runs") / "a cloud"
    with cloud(script=SCRIPT, modules=modules, folder=folder, glue_minute_seconds=1) as started:
        started.glue.create_job(
            Name="retried",
            Role="r",
            Command={"Name": "glueetl", "ScriptLocation": "s3://ninefold/code/preprocess.py"},
            DefaultArguments={"--do": "fail"},
            MaxRetries=2,
        )
        yield started


def sleeper(aws: Cloud, **more: Any) -> tuple[str, list[psutil.Process]]:
    """A run that sleeps, and its processes: the job's own and one that it started."""
    pids = aws.folder / f"pids-{len(aws.runs())}"
    about = {"--do": "sleep", "--pids": str(pids)}
    run_id = aws.glue.start_job_run(JobName=JOB, Arguments=about, **more)["JobRunId"]
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"), 20, lambda: aws.said)
    return run_id, [psutil.Process(int(pid)) for pid in pids.read_text().split()]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_a_run_executes_the_script_with_its_arguments_over_the_jobs_own(aws: Cloud) -> None:
    run_id = aws.start(do="tell", batch="a b", transform='{"size": 224}', bucket="other")
    run = aws.wait_for_run(run_id)
    assert run["JobRunState"] == "SUCCEEDED", aws.said
    told = json.loads(aws.text("told.json") or "")
    arguments = told["arguments"]
    assert (arguments["--batch"], arguments["--transform"]) == ("a b", '{"size": 224}')
    assert arguments["--bucket"] == "other"
    assert arguments["--extra-py-files"] == "s3://ninefold/code/modules.zip"
    assert (arguments["--JOB_NAME"], arguments["--JOB_RUN_ID"]) == (JOB, run_id)
    assert (told["extra"], told["main"]) == ("found", "__main__")
    assert not [entry for entry in told["path"] if entry.endswith("localcloud")]
    environment = told["environment"]
    assert environment["AWS_ENDPOINT_URL"] == aws.url
    options = shlex.split(environment["PYSPARK_SUBMIT_ARGS"])  # as PySpark splits it
    assert f"spark.local.dir={Path(told['file']).parent}" in options
    assert "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" in options
    assert options[options.index("--py-files") + 1] in told["path"]
    assert not [name for name in environment if name.startswith("NINEFOLD_")]
    assert run["Arguments"]["--batch"] == "a b"
    assert run["StartedOn"] <= run["CompletedOn"]
    assert (run["Attempt"], "ErrorMessage" in run) == (0, False)
    assert aws.runs()[0]["Id"] == run_id


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("fail", "ValueError: no image in the zip\nsecond line"),
        ("leave", "SystemExit: nothing to do here"),
        ("leave_with_a_number", "SystemExit: 4"),
        ("leave_at_once", "The job's process ended with exit code 7"),
        ("not_there", "KeyError: 'not_there'"),
    ],
)
def test_how_a_run_failed_is_told_in_one_message(aws: Cloud, do: str, message: str) -> None:
    run = aws.wait_for_run(aws.start(do=do))
    assert (run["JobRunState"], run["ErrorMessage"]) == ("FAILED", message)


def test_a_failed_runs_last_lines_are_printed_and_its_log_is_kept(aws: Cloud) -> None:
    run_id = aws.start(do="fail")
    aws.wait_for_run(run_id)
    log = aws.data / "runs" / f"{run_id}.log"
    assert "a line before the end" in log.read_text()
    wait_until(lambda: f"(all of it: {log})" in aws.said, 5, lambda: aws.said)
    assert "runpy" not in log.read_text()


def test_an_exit_with_zero_is_a_success(aws: Cloud) -> None:
    assert aws.wait_for_run(aws.start(do="succeed"))["JobRunState"] == "SUCCEEDED"


def test_a_script_that_is_not_there_fails_the_run(aws: Cloud) -> None:
    command = {"Name": "glueetl", "ScriptLocation": "s3://ninefold/code/nowhere.py"}
    aws.glue.create_job(Name="without-script", Role="r", Command=command)
    run_id = aws.glue.start_job_run(JobName="without-script")["JobRunId"]

    def run() -> dict[str, Any]:
        found: dict[str, Any] = aws.glue.get_job_run(JobName="without-script", RunId=run_id)["JobRun"]
        return found

    wait_until(lambda: run()["JobRunState"] == "FAILED", 10, run)
    assert "s3://ninefold/code/nowhere.py cannot be had" in run()["ErrorMessage"]


def test_a_stopped_run_ends_with_all_that_it_started(aws: Cloud) -> None:
    run_id, processes = sleeper(aws)
    assert aws.run(run_id)["JobRunState"] == "RUNNING"
    assert "CompletedOn" not in aws.run(run_id)
    answer = aws.glue.batch_stop_job_run(JobName=JOB, JobRunIds=[run_id, "jr_unknown"])
    assert answer["SuccessfulSubmissions"] == [{"JobName": JOB, "JobRunId": run_id}]
    assert answer["Errors"][0]["ErrorDetail"]["ErrorCode"] == "EntityNotFoundException"
    aws.wait_for_run(run_id, "STOPPED")
    assert gone(processes)
    again = aws.glue.batch_stop_job_run(JobName=JOB, JobRunIds=[run_id])
    assert again["SuccessfulSubmissions"] == []
    assert again["Errors"][0]["JobRunId"] == run_id


def test_a_run_that_takes_too_long_times_out(aws: Cloud) -> None:
    run_id, processes = sleeper(aws, Timeout=2)
    run = aws.wait_for_run(run_id)
    assert (run["JobRunState"], run["Timeout"]) == ("TIMEOUT", 2)
    assert run["ExecutionTime"] >= 2
    assert gone(processes)


def test_a_killed_run_has_failed_and_says_so(aws: Cloud) -> None:
    run_id, processes = sleeper(aws)
    processes[0].send_signal(signal.SIGKILL)
    run = aws.wait_for_run(run_id)
    assert run["JobRunState"] == "FAILED"
    assert "by signal SIGKILL" in run["ErrorMessage"]
    wait_until(lambda: gone(processes), 5)


def test_of_runs_that_start_at_once_no_more_than_allowed_do(aws: Cloud) -> None:
    def start(number: int) -> str:
        try:
            return aws.start(do="sleep", pids=str(aws.folder / f"at-once-{number}"))
        except ClientError as error:
            return str(error.response["Error"]["Code"])

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(start, range(8)))
    started = [outcome for outcome in outcomes if outcome.startswith("jr_")]
    assert len(started) == 2
    assert outcomes.count("ConcurrentRunsExceededException") == 6
    aws.glue.batch_stop_job_run(JobName=JOB, JobRunIds=started)
    for run_id in started:
        assert aws.wait_for_run(run_id)["JobRunState"] == "STOPPED"
    assert aws.wait_for_run(aws.start(do="succeed"))["JobRunState"] == "SUCCEEDED"


def test_a_failed_run_is_tried_again_as_often_as_the_job_says(aws: Cloud) -> None:
    first = aws.glue.start_job_run(JobName="retried")["JobRunId"]

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = aws.glue.get_job_runs(JobName="retried")["JobRuns"]
        return found

    wait_until(lambda: len(runs()) == 3 and all(run["JobRunState"] == "FAILED" for run in runs()), 20, runs)
    assert [run["Id"] for run in runs()] == [f"{first}_attempt_2", f"{first}_attempt_1", first]
    assert [run["Attempt"] for run in runs()] == [2, 1, 0]
    assert [run.get("PreviousRunId") for run in runs()] == [f"{first}_attempt_1", first, None]


def test_an_unknown_job_and_an_unknown_run_are_not_found(aws: Cloud) -> None:
    for call, arguments in {
        aws.glue.start_job_run: {"JobName": "nowhere"},
        aws.glue.get_job_run: {"JobName": JOB, "RunId": "jr_nowhere"},
    }.items():
        with pytest.raises(ClientError) as refused:
            call(**arguments)
        assert refused.value.response["Error"]["Code"] == "EntityNotFoundException"


def test_nothing_is_left_when_the_stand_in_is_killed() -> None:
    """Its runs have a leash: even SIGKILL, which nobody can prepare for, ends them."""
    with cloud(script=SCRIPT) as aws:
        _, processes = sleeper(aws)
        aws.process.kill()
        wait_until(lambda: gone(processes), 10, lambda: [process.status() for process in processes])


def test_nothing_is_left_when_the_stand_in_ends() -> None:
    function = (
        "import time, os\ndef handler(event, context):\n    print('pid', os.getpid(), flush=True)\n    time.sleep(50)"
    )
    with cloud(script=SCRIPT, function=function) as aws:
        family = psutil.Process(aws.process.pid)
        sleeper(aws)
        aws.s3.put_object(Bucket="ninefold", Key="uploads/a/b.zip", Body=b"x")
        wait_until(lambda: len(family.children(recursive=True)) >= 3, 10, lambda: aws.said)
        children = family.children(recursive=True)
        aws.stop(seconds=6)
        assert gone(children)
        assert aws.process.returncode == 0
        assert "Traceback" not in aws.said
