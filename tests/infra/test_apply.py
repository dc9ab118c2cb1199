"""infra/ applied for real, to the stand-in for AWS: an upload runs through what it made, a host is rolled by it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from localcloud.aws import Aws
from scripts.glue_venv import INTERPRETER, ensure_glue_venv
from scripts.host_bundle import bundle
from scripts.package import package
from tests import pictures, zips
from tests.infra.terraform import ACCOUNT, INFRA, VARIABLES, Terraform
from tests.localcloud.clouds import Cloud, cloud, wait_until

DATA, CODE = f"ninefold-data-{ACCOUNT}", f"ninefold-code-{ACCOUNT}"
OVERRIDE = Path(__file__).with_name("stand_in_override.tf")
SHIMS = {
    # What the host has and this machine need not: each notes how it was called.
    "docker": 'echo "docker $*" >>"$CALLS"; [[ $1 != login ]] || cat >/dev/null',
    "systemctl": 'echo "systemctl $*" >>"$CALLS"',
    "python3": 'echo "python3 $*" >>"$CALLS"; exit "${ROLL_ENDS_WITH:-0}"',
    "curl": 'exit "${CURL_ENDS_WITH:-0}"',
}


@dataclass
class Applied:
    """What was applied, where, and the words of the apply."""

    terraform: Terraform
    cloud: Cloud
    said: str

    def client(self, service: str) -> Any:
        return Aws(self.cloud.url).client(service)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    code = tmp_path_factory.mktemp("code")
    package(code)
    ensure_glue_venv()
    with cloud(empty="1", bucket=DATA, glue_python=INTERPRETER, spark_master="local[2]") as aws:
        terraform = Terraform(
            tmp_path_factory.mktemp("applied") / "infra", aws.env, VARIABLES | {"code_dir": str(code)}
        )
        (terraform.folder / OVERRIDE.name).write_text(OVERRIDE.read_text())
        terraform("init")
        yield Applied(terraform, aws, terraform("apply", "-auto-approve"))


def keys(found: Applied, prefix: str) -> list[str]:
    answer = found.cloud.s3.list_objects_v2(Bucket=DATA, Prefix=prefix)
    return [each["Key"] for each in answer.get("Contents", [])]


def test_an_upload_runs_through_the_function_and_the_job_that_were_made(applied: Applied) -> None:
    photos = {f"{number}.jpg": pictures.jpeg((64, 48), number) for number in range(3)}
    applied.cloud.s3.put_object(Bucket=DATA, Key="uploads/first/photos.zip", Body=zips.of(photos))
    wait_until(
        lambda: any(key.endswith("/manifest.json") for key in keys(applied, "batches/first/")),
        90,
        lambda: applied.cloud.said,
    )
    (run,) = applied.cloud.glue.get_job_runs(JobName="ninefold-preprocess")["JobRuns"]
    assert run["Arguments"]["--key"] == "uploads/first/photos.zip"
    (tensor,) = [key for key in keys(applied, "batches/first/") if key.endswith(".npy")]
    tags = applied.cloud.s3.get_object_tagging(Bucket=DATA, Key=tensor)["TagSet"]
    assert tags == [{"Key": "ninefold", "Value": "tensors"}]  # as the bucket's lifecycle has it


def test_a_second_plan_changes_nothing(applied: Applied) -> None:
    done = applied.terraform.run("plan", "-detailed-exitcode")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_failed_run_is_announced_and_a_lost_event_raises_an_alarm(applied: Applied) -> None:
    rule = applied.client("events").describe_rule(Name="ninefold-job-failed")
    assert json.loads(rule["EventPattern"])["detail"]["jobName"] == ["ninefold-preprocess"]
    alarms = applied.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert {alarm["AlarmName"]: alarm["TreatMissingData"] for alarm in alarms} == {
        "ninefold-5xx": "notBreaching",
        "ninefold-dead-letters": "notBreaching",
        "ninefold-unready": "breaching",
    }
    assert {action.rsplit(":", 1)[1] for alarm in alarms for action in alarm["AlarmActions"]} == {"ninefold-alarms"}


# -- the host, by its own scripts -----------------------------------------------------------------------------------


class Host:
    """A folder that stands in for the host's file system, with the real `aws` command before the stand-in."""

    def __init__(self, folder: Path, applied: Applied) -> None:
        if sys.platform != "linux":
            pytest.skip("the host's scripts lean on a Linux's tools")
        self.folder, self._applied = folder, applied
        for name in ("shims", "etc", "units", "programs"):
            (folder / name).mkdir()
        for name, body in SHIMS.items():
            (folder / "shims" / name).write_text(f"#!/bin/bash\n{body}\n")
            (folder / "shims" / name).chmod(0o755)
        (folder / "etc" / "where.env").write_text("AWS_DEFAULT_REGION=us-east-1\nNINEFOLD_NAME=ninefold\n")
        self._environment = {
            **os.environ,
            **applied.cloud.env,
            "PATH": os.pathsep.join([str(folder / "shims"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "CALLS": str(folder / "calls"),
            "NINEFOLD_HOME": str(folder / "home"),
            "NINEFOLD_ETC": str(folder / "etc"),
            "NINEFOLD_PLUGINS": str(folder / "plugins"),
            "NINEFOLD_UNITS": str(folder / "units"),
            "NINEFOLD_PROGRAMS": str(folder / "programs"),
            "NINEFOLD_USER": str(os.getuid()),
        }

    def run(self, script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(script), *arguments]
        env = self._environment | environment
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)

    def roll(self, *digests: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(INFRA / "host" / "ninefold-roll.sh", *digests, **environment)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def runs(self) -> str:
        """What the parameter says."""
        return str(self._applied.client("ssm").get_parameter(Name="/ninefold/runs")["Parameter"]["Value"])


def put_bundle(applied: Applied, plugin: Path) -> str:
    """Its digest."""
    data = bundle(plugin)
    digest = hashlib.sha256(data).hexdigest()
    applied.cloud.s3.put_object(Bucket=CODE, Key=f"host/{digest}.tar.gz", Body=data)
    return f"sha256:{digest}"


def test_the_host_is_rolled_by_digests_and_notes_what_runs(applied: Applied, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text("#!/bin/sh\n")
    first = put_bundle(applied, plugin)
    images = [f"sha256:{digit * 64}" for digit in "abc"]
    applied.client("ssm").put_parameter(Name="/ninefold/secrets/keys", Type="SecureString", Value='{"keys": []}')
    host = Host(tmp_path, applied)
    assert host.runs == "nothing"

    done = host.roll(first, *images)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.runs == " ".join([first, *images])
    (rolled,) = [call for call in host.calls if call.startswith("python3")]
    registry = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/ninefold"
    for service, digest in zip(("backend", "frontend", "proxy"), images, strict=True):
        assert f"--{service} {registry}-{service}@{digest}" in rolled
    home = tmp_path / "home"
    assert (home / "docker-compose.production.yml").is_file() and os.access(
        tmp_path / "plugins/docker-compose", os.X_OK
    )
    keys_file = home / "secrets/backend/keys.json"
    assert json.loads(keys_file.read_text()) == {"keys": []} and keys_file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "etc" / "backend.env").read_text() == "# backend_settings\nNINEFOLD_QUEUE_IMAGES='72'\n"

    plugin.write_text("#!/bin/sh\n# another\n")
    second = put_bundle(applied, plugin)
    refused = host.roll(second, *images[::-1], ROLL_ENDS_WITH="1")
    assert refused.returncode == 1 and "what ran before runs on" in refused.stderr
    assert host.runs == " ".join([first, *images])
    assert (home / "bundle").read_text().strip() == first.removeprefix("sha256:")  # its files are back in place


def test_the_host_tells_each_minute_whether_it_is_ready(applied: Applied, tmp_path: Path) -> None:
    host = Host(tmp_path, applied)
    (tmp_path / "etc" / "settings.env").write_text("NINEFOLD_DOMAIN=ninefold.example\n")
    for outcome in ("0", "22"):
        done = host.run(INFRA / "host" / "ninefold-report.sh", CURL_ENDS_WITH=outcome)
        assert done.returncode == 0, done.stderr
    (told,) = applied.client("cloudwatch").get_metric_statistics(
        Namespace="ninefold",
        MetricName="Ready",
        StartTime=datetime.now(UTC) - timedelta(hours=1),
        EndTime=datetime.now(UTC) + timedelta(hours=1),
        Period=7200,
        Statistics=["Maximum", "Minimum"],
    )["Datapoints"]
    assert (told["Maximum"], told["Minimum"]) == (1.0, 0.0)


@pytest.mark.parametrize("wrong", ["latest", "sha256:abc", "sha256:" + "a" * 64 + "; rm -rf /", "--help"])
def test_the_host_takes_nothing_but_digests(applied: Applied, tmp_path: Path, wrong: str) -> None:
    done = Host(tmp_path, applied).roll(wrong, *["sha256:" + "a" * 64] * 3)
    assert done.returncode == 2 and "is no digest" in done.stderr


def test_a_bundle_that_is_not_its_digest_is_not_opened(applied: Applied, tmp_path: Path) -> None:
    digest = "0" * 64
    applied.cloud.s3.put_object(Bucket=CODE, Key=f"host/{digest}.tar.gz", Body=b"something else")
    done = Host(tmp_path, applied).roll(*[f"sha256:{digest}"] * 4)
    assert done.returncode != 0 and "did NOT match" in done.stderr
    assert not (tmp_path / "home/bundles" / digest).exists()


def test_destroy_leaves_nothing(applied: Applied) -> None:
    """Last: what the tests above put into buckets and repositories goes as well."""
    applied.client("ssm").delete_parameters(Names=["/ninefold/secrets/keys"])  # a person put it, as docs/deploy.md says
    applied.terraform("destroy", "-auto-approve")
    left = {
        "buckets": applied.client("s3").list_buckets()["Buckets"],
        "functions": applied.client("lambda").list_functions()["Functions"],
        "jobs": applied.client("glue").list_jobs()["JobNames"],
        "roles": applied.client("iam").list_roles()["Roles"],
        "policies": applied.client("iam").list_policies(Scope="Local")["Policies"],
        "queues": applied.client("sqs").list_queues().get("QueueUrls", []),
        "repositories": applied.client("ecr").describe_repositories()["repositories"],
        "groups": applied.client("logs").describe_log_groups()["logGroups"],
        "topics": applied.client("sns").list_topics()["Topics"],
        "alarms": applied.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "addresses": applied.client("ec2").describe_addresses()["Addresses"],
        "instances": applied.client("ec2").describe_instances(
            Filters=[{"Name": "instance-state-name", "Values": ["running", "stopped"]}]
        )["Reservations"],
        "parameters": applied.client("ssm").describe_parameters(
            ParameterFilters=[{"Key": "Name", "Option": "BeginsWith", "Values": ["/ninefold"]}]
        )["Parameters"],
    }
    assert {name: found for name, found in left.items() if found} == {}
