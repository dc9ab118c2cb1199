"""What the deploy runs in GitHub's runner: images and bundle pushed, the host rolled, looked at, rolled back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.deploy_push import proxy_tag
from scripts.deploy_roll import SEEN
from scripts.host_bundle import bundle

ROOT = Path(__file__).parents[2]
OLD, NEW = [[f"sha256:{digit * 64}" for digit in digits] for digits in ("1234", "abcd")]
PROXY_TAG = proxy_tag(datetime.now(UTC))
OUTPUTS = {
    "registry": "registry.example",
    "name": "ninefold",
    "code_bucket": "a-code-bucket",
    "document": "ninefold-roll",
    "instance": "i-1",
    "runs": "/ninefold/runs",
}
DOCKER = """
echo "docker $*" >>"$CALLS"
case "$1 $2" in
    "login --username") cat >/dev/null;;
    "info --format") echo "$PLUGIN";;
    "image inspect") echo "[\\"other.example/x@sha256:0\\", \\"${3%:*}@sha256:of-${3##*-}\\"]" ;;
esac
"""
AWS = """
echo "aws $*" >>"$CALLS"
case "$1 $2" in
    "ecr get-login-password") echo password;;
    "s3 cp") cp "$4" "$CALLS.bundle";;
    "ecr describe-images")
        [[ $* != *"${PROXY_TAG:-none}"* ]] || { echo '{"imageDetails": [{"imageDigest": "sha256:is-there"}]}'; exit; }
        echo "An error occurred (${REGISTRY_SAYS:-ImageNotFoundException}) when calling DescribeImages" >&2; exit 254;;
    "ssm get-parameter") echo "{\\"Parameter\\": {\\"Value\\": \\"$RUNS\\"}}";;
    "ssm send-command")
        printf '{"Command": {"CommandId": "c-%s"}}' "$(grep -c send-command "$CALLS")"; rm -f "$CALLS.asked";;
    "ssm get-command-invocation")
        # Known only at the second look, over only at the third.
        echo >>"$CALLS.asked"
        case $(wc -l <"$CALLS.asked") in
            1) echo "An error occurred (${SSM_SAYS:-InvocationDoesNotExist}) when calling it" >&2; exit 254;;
            2) status=InProgress;;
            *) status=${ENDS:-Success}; [[ $* != *c-2* ]] || status=Success;;
        esac
        printf '{"Status": "%s", "StandardOutputContent": "", "StandardErrorContent": "unhealthy"}' "$status";;
esac
"""


class Runner:
    """A machine with stand-ins for `docker` and `aws`, which note how they were called."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls"
        self.plugin = folder / "docker-compose"
        self.plugin.write_bytes(b"an executable")
        self.outputs = folder / "terraform.json"
        self.outputs.write_text(json.dumps({name: {"value": value} for name, value in OUTPUTS.items()}))
        for name, body in (("docker", DOCKER), ("aws", AWS)):
            (folder / name).write_text(f"#!/bin/bash\n{body}")
            (folder / name).chmod(0o755)
        self._environment = os.environ | {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(self._calls),
            "PLUGIN": str(self.plugin),
        }

    def run(self, module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, "--outputs", str(self.outputs), *arguments]
        env = self._environment | environment
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)

    def roll(self, address: str, runs: str, **environment: str) -> subprocess.CompletedProcess[str]:
        how = ("--address", address, "--tick-seconds", "0.01", "--smoke-seconds", "0")
        return self.run("scripts.deploy_roll", *how, *NEW, RUNS=runs, **environment)

    def calls(self, beginning: str) -> list[str]:
        return [call for call in self._calls.read_text().splitlines() if call.startswith(beginning)]

    def rolled_to(self) -> list[list[str]]:
        """The digests of each command that was sent."""
        sent = [json.loads(call.split("--parameters ")[1].rsplit(" --output", 1)[0]) for call in
                self.calls("aws ssm send-command")]  # fmt: skip
        return [[parameters[name][0] for name in ("HostDigest", "BackendDigest", "FrontendDigest", "ProxyDigest")]
                for parameters in sent]  # fmt: skip


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture
def site() -> Iterator[tuple[str, dict[str, int]]]:
    """An address, and what it answers, which may be changed."""
    seen = dict(SEEN)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(seen[self.path])
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()


def test_what_is_pushed_is_named_by_digests_alone(runner: Runner, tmp_path: Path) -> None:
    done = runner.run("scripts.deploy_push", "--tag", "t1", "--model", "a-model")
    assert done.returncode == 0, done.stderr
    packed = hashlib.sha256((tmp_path / "calls.bundle").read_bytes()).hexdigest()
    images = [f"sha256:of-{service}:t1" for service in ("backend", "frontend")]
    assert done.stdout.split() == [f"sha256:{packed}", *images, f"sha256:of-proxy:{PROXY_TAG}"]
    built = runner.calls("docker build")
    assert [("NINEFOLD_MODEL=a-model" in call) for call in built] == [True, False, False]
    assert [("REVISION=" in call) for call in built] == [True, True, False]
    assert "--build-arg NINEFOLD_MODELS= --build-arg LIVE=0 " in built[0]
    (uploaded,) = runner.calls("aws s3 cp")
    assert uploaded.endswith(f"s3://a-code-bucket/host/{packed}.tar.gz")


def test_further_models_and_what_live_needs_are_in_the_servers_image_alone(runner: Runner) -> None:
    done = runner.run("scripts.deploy_push", "--tag", "t1", "--models", "resnet50 rtdetr_r18", "--live")
    assert done.returncode == 0, done.stderr
    built = runner.calls("docker build")
    wanted = "--build-arg NINEFOLD_MODELS=resnet50 rtdetr_r18 --build-arg LIVE=1 "
    assert [wanted in call for call in built] == [True, False, False]
    assert not any("LIVE" in call or "MODEL" in call for call in built[1:])


def test_a_proxy_that_has_not_changed_is_not_built_again(runner: Runner) -> None:
    done = runner.run("scripts.deploy_push", "--tag", "t2", PROXY_TAG=PROXY_TAG)
    assert done.stdout.split()[-1] == "sha256:is-there", done.stderr
    assert not [call for call in runner.calls("docker") if "proxy" in call]


def test_a_registry_that_cannot_be_asked_is_no_reason_to_build(runner: Runner) -> None:
    done = runner.run("scripts.deploy_push", "--tag", "t3", REGISTRY_SAYS="AccessDeniedException")
    assert done.returncode == 1 and "AccessDeniedException" in done.stderr
    assert not [call for call in runner.calls("docker") if "proxy" in call]


def test_the_bundle_has_all_that_the_roll_imports(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(bundle(None))) as archive:
        archive.extractall(tmp_path, filter="data")
    assert bundle(None) == bundle(None)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import scripts.roll; print(scripts.roll.__file__)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(tmp_path / "scripts" / "roll.py"), done.stderr


def test_a_roll_that_is_well_is_left_alone(runner: Runner, site: tuple[str, dict[str, int]]) -> None:
    done = runner.roll(site[0], runs=" ".join(OLD))
    assert done.returncode == 0, done.stderr
    assert runner.rolled_to() == [NEW]


def test_a_roll_that_the_host_took_back_is_a_failure_and_nothing_more_is_sent(
    runner: Runner, site: tuple[str, dict[str, int]]
) -> None:
    done = runner.roll(site[0], runs=" ".join(OLD), ENDS="Failed")
    assert done.returncode == 1 and "unhealthy" in done.stderr
    assert runner.rolled_to() == [NEW]


@pytest.mark.parametrize("status", ["TimedOut", "Cancelled"])
def test_a_host_that_was_cut_off_is_rolled_back(runner: Runner, site: tuple[str, dict[str, int]], status: str) -> None:
    done = runner.roll(site[0], runs=" ".join(OLD), ENDS=status)
    assert done.returncode == 1 and status in done.stderr and "Rolled back to" in done.stderr
    assert runner.rolled_to() == [NEW, OLD]


def test_a_roll_that_may_not_be_looked_at_ends_with_the_reason(
    runner: Runner, site: tuple[str, dict[str, int]]
) -> None:
    done = runner.roll(site[0], runs=" ".join(OLD), SSM_SAYS="AccessDeniedException")
    assert done.returncode == 1 and "not known" in done.stderr and "AccessDeniedException" in done.stderr
    assert runner.rolled_to() == [NEW]


@pytest.mark.parametrize(("path", "status"), [("/readyz", 503), ("/v1/models", 200), ("/metrics", 200), ("/", 502)])
def test_what_does_not_look_right_is_rolled_back(
    runner: Runner, site: tuple[str, dict[str, int]], path: str, status: int
) -> None:
    address, seen = site
    seen[path] = status
    done = runner.roll(address, runs=" ".join(OLD))
    assert done.returncode == 1 and f"{path} answers {status}" in done.stderr
    assert runner.rolled_to() == [NEW, OLD]


def test_a_first_roll_has_nothing_to_go_back_to(runner: Runner, site: tuple[str, dict[str, int]]) -> None:
    address, seen = site
    seen["/"] = 502
    done = runner.roll(address, runs="nothing")
    assert done.returncode == 1 and "nothing ran before" in done.stderr
    assert runner.rolled_to() == [NEW]
