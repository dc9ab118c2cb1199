"""The process: what it creates at its start, what it refuses, and how Terraform finds an empty one."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from localcloud.folder import SCRATCH, open_many_files
from localcloud.resources import DEAD_LETTERS, FUNCTION
from localcloud.settings import VARIABLES, BadSetting, Settings
from tests.localcloud.clouds import BUCKET, JOB, ROOT, Cloud, cloud, wait_until

NO_LIMIT = 2**63 - 1  # as a Mac has it
DOCS = ROOT / "docs" / "operations.md"


def end(*, cwd: Path = ROOT, **environment: str) -> str:
    """What it says when it cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", "localcloud"],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "NINEFOLD_CLOUD_PORT": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_everything_is_there_once_it_is_ready_and_ends_within_seconds() -> None:
    with cloud(page_origins="http://page:1", bucket="ours", job="our-job") as aws:
        rules = aws.s3.get_bucket_cors(Bucket="ours")["CORSRules"]
        assert [(rule["AllowedMethods"], rule["AllowedOrigins"], rule["ExposeHeaders"]) for rule in rules] == [
            (["PUT"], ["http://page:1"], ["ETag"])
        ]
        keys = {each["Key"] for each in aws.s3.list_objects_v2(Bucket="ours")["Contents"]}
        assert keys >= {"code/lambda.zip", "code/preprocess.py", "code/modules.zip"}
        check_function(aws)
        check_job(aws)
        wait_until(lambda: "Contents" in aws.s3.list_objects_v2(Bucket="ours", Prefix="notice.json"), 5)
        notice = json.loads(aws.s3.get_object(Bucket="ours", Key="notice.json")["Body"].read())
        assert notice == {"message": "", "disposable": True}
        begun = time.monotonic()
        said = aws.stop()
        assert time.monotonic() - begun < 5
        assert aws.process.returncode == 0
        assert "Traceback" not in said


def check_function(aws: Cloud) -> None:
    function = aws.functions.get_function(FunctionName=FUNCTION)["Configuration"]
    assert (function["Handler"], function["Timeout"], function["MemorySize"]) == (
        "start_preprocessing.handler",
        60,
        512,
    )
    assert function["Environment"]["Variables"]["GLUE_JOB"] == "our-job"
    assert function["DeadLetterConfig"]["TargetArn"].endswith(DEAD_LETTERS)
    (notified,) = aws.s3.get_bucket_notification_configuration(Bucket="ours")["LambdaFunctionConfigurations"]
    assert notified["LambdaFunctionArn"] == function["FunctionArn"]
    filters = {rule["Name"].lower(): rule["Value"] for rule in notified["Filter"]["Key"]["FilterRules"]}
    assert filters == {"prefix": "uploads/", "suffix": ".zip"}


def check_job(aws: Cloud) -> None:
    job = aws.glue.get_job(JobName="our-job")["Job"]
    assert job["Command"]["ScriptLocation"] == "s3://ours/code/preprocess.py"
    assert (job["MaxRetries"], job["Timeout"], job["ExecutionProperty"]) == (0, 60, {"MaxConcurrentRuns": 2})
    assert job["DefaultArguments"]["--extra-py-files"] == "s3://ours/code/modules.zip"
    assert job["DefaultArguments"]["--bucket"] == "ours"
    pins = (ROOT / "requirements" / "glue.txt").read_text().split()
    ours = {pin for pin in pins if pin.startswith(("boto3==", "numpy==", "pillow=="))}
    assert set(job["DefaultArguments"]["--additional-python-modules"].split(",")) == ours


def test_an_empty_one_has_nothing_and_waits_for_its_bucket() -> None:
    with cloud(empty=1, code_dir="/not/there") as aws:
        assert aws.s3.list_buckets()["Buckets"] == []
        assert aws.functions.list_functions()["Functions"] == []
        with pytest.raises(ClientError):
            aws.glue.get_job(JobName=JOB)
        aws.s3.create_bucket(Bucket=BUCKET)
        wait_until(lambda: aws.text("notice.json") is not None, 10, lambda: aws.said)


def test_missing_code_is_one_sentence(tmp_path: Path) -> None:
    said = end(NINEFOLD_CODE_DIR=str(tmp_path))
    assert said.startswith("ninefold: the stand-in for S3, Lambda and Glue cannot start: ")
    assert said.endswith(f"{tmp_path}/lambda.zip is missing: `python -m scripts.package` builds it.")


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        said = end(NINEFOLD_CLOUD_PORT=port, NINEFOLD_CLOUD_EMPTY="1")
    assert f"port {port} cannot be had" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_it_starts_again_in_its_folder_and_says_what_is_gone(tmp_path: Path, killed: bool) -> None:
    folder = tmp_path / "cloud"
    with cloud(folder=folder) as aws:
        aws.s3.put_object(Bucket=BUCKET, Key="mine", Body=bytes(3 << 20))
        before = aws.start()
        aws.wait_for_run(before)
        assert "are gone" not in aws.said
        if killed:
            aws.process.kill()
            aws.process.wait()
            assert (folder / SCRATCH).exists()
    with cloud(folder=folder) as aws:
        assert f"are gone; the logs of its job runs are in {folder / 'runs'}." in aws.said
        assert aws.text("mine") is None and (folder / "runs" / f"{before}.log").exists()
        assert len(list((folder / SCRATCH).iterdir())) == 1
        aws.s3.put_object(Bucket=BUCKET, Key="uploads/a/b.zip", Body=b"x")
        wait_until(lambda: "uploads/a/b.zip" in (aws.text("seen.json") or ""), 20, lambda: aws.said)
    assert list(folder.iterdir()) == [folder / "runs"]


def test_a_folder_in_use_is_one_sentence(tmp_path: Path) -> None:
    with cloud(folder=tmp_path, empty=1):
        said = end(NINEFOLD_CLOUD_DIR=str(tmp_path), NINEFOLD_CLOUD_EMPTY="1")
    assert said.endswith(f"another one has its things in {tmp_path}; NINEFOLD_CLOUD_DIR names another.")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((256, NO_LIMIT), (10_240, NO_LIMIT)), ((256, 4096), (4096, 4096)), ((NO_LIMIT, NO_LIMIT), (NO_LIMIT, NO_LIMIT))],
)
def test_as_many_files_may_be_open_as_a_mac_lets(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    """A Mac says that there is no limit, and takes none that says so."""
    now = [limits]

    def setrlimit(_which: int, asked: tuple[int, int]) -> None:
        if asked[0] == NO_LIMIT:
            raise ValueError("current limit exceeds maximum limit")
        now.append(asked)

    monkeypatch.setattr(resource, "RLIM_INFINITY", NO_LIMIT)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: now[-1])
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    open_many_files()
    assert now[-1] == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NINEFOLD_CLOUD_PORT", "http"), ("NINEFOLD_CLOUD_PORT", "70000"), ("NINEFOLD_LAMBDA_RETRY_SECONDS", "1,soon")],
)
def test_a_setting_that_cannot_be_read_names_itself(variable: str, value: str) -> None:
    with pytest.raises(BadSetting, match=f"{variable}={value} cannot be understood"):
        Settings.read({variable: value})


def test_settings_and_their_defaults() -> None:
    assert Settings.read({}) == Settings.read(dict.fromkeys((name for name, _ in VARIABLES.values()), "")) == Settings()
    assert set(VARIABLES) == set(Settings.__dataclass_fields__)
    read = Settings.read({"NINEFOLD_LAMBDA_RETRY_SECONDS": "1,2.5", "NINEFOLD_PAGE_ORIGINS": "http://a/, http://b"})
    assert (read.lambda_retry_seconds, read.page_origins) == ((1, 2.5), ("http://a", "http://b"))


def test_every_setting_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert not [name for name, _ in VARIABLES.values() if f"`{name}`" not in text]
