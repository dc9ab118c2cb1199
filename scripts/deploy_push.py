"""Builds what a host runs and puts it where the host takes it from: three images, and the bundle it is rolled with.

    python -m scripts.deploy_push --outputs terraform.json --tag TAG [--model NAME] [--models "NAME …"] [--live]

`terraform.json` is what `terraform output -json` says. The last line is four digests: bundle, backend, frontend, proxy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_PLUGIN = '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Path}}{{end}}{{end}}'


class AwsFailed(Exception):
    """A command of AWS's that did not work. The text is its own."""


def main() -> None:
    """Builds, pushes, uploads."""
    parser = argparse.ArgumentParser(prog="deploy_push", description="Build and push images and the host's bundle.")
    parser.add_argument("--outputs", type=Path, required=True, help="what `terraform output -json` says")
    parser.add_argument("--tag", required=True, help="a tag that no image has; what runs is named by digest")
    parser.add_argument("--model", default="resnet18", help="the model that is in the server's image")
    parser.add_argument("--models", default="", help="further ones that are in it, detectors too, separated by spaces")
    parser.add_argument("--live", action="store_true", help="and what the guided filter and tracks need")
    asked = parser.parse_args()
    outputs = read_outputs(asked.outputs)
    log_in(outputs["registry"])
    revision = f"REVISION={answer('git', 'rev-parse', 'HEAD')}"
    within = (f"NINEFOLD_MODEL={asked.model}", f"NINEFOLD_MODELS={asked.models}", f"LIVE={int(asked.live)}")
    images = [
        push("backend", outputs, asked.tag, revision, *within),
        push("frontend", outputs, asked.tag, revision),
        push_proxy(outputs),
    ]
    print(push_bundle(outputs["code_bucket"]), *images)


def read_outputs(path: Path) -> dict[str, str]:
    """Terraform's outputs by name."""
    found: Mapping[str, Mapping[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return {name: about["value"] for name, about in found.items()}


def log_in(registry: str) -> None:
    """Docker gets a password for twelve hours."""
    password = answer("aws", "ecr", "get-login-password")
    command = ["docker", "login", "--username", "AWS", "--password-stdin", registry]
    subprocess.run(command, input=password, text=True, check=True, stdout=sys.stderr)


def push_proxy(outputs: Mapping[str, str]) -> str:
    """Its digest. This month's image of the same folder is kept: to replace the proxy is a break for visitors."""
    tag = proxy_tag(datetime.now(UTC))
    where = ("--repository-name", f"{outputs['name']}-proxy", "--image-ids", f"imageTag={tag}")
    found = ask_aws("ecr", "describe-images", *where, absent="ImageNotFoundException")
    return str(found["imageDetails"][0]["imageDigest"]) if found else push("proxy", outputs, tag)


def proxy_tag(now: datetime) -> str:
    """The month, for Debian's fixes to come with another, and what the folder holds."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "proxy").iterdir()):
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return f"{now:%Y.%m}.{digest.hexdigest()[:16]}"


def push(service: str, outputs: Mapping[str, str], tag: str, *arguments: str) -> str:
    """Builds one image with these arguments and pushes it; its digest."""
    repository = f"{outputs['registry']}/{outputs['name']}-{service}"
    built = [word for each in arguments for word in ("--build-arg", each)]
    tell("docker", "build", "--file", f"{service}/Dockerfile", *built, "--tag", f"{repository}:{tag}", ".")
    tell("docker", "push", "--quiet", f"{repository}:{tag}")
    named = json.loads(answer("docker", "image", "inspect", f"{repository}:{tag}", "--format", "{{json .RepoDigests}}"))
    return next(str(each).split("@")[1] for each in named if each.startswith(f"{repository}@"))


def push_bundle(bucket: str) -> str:
    """Packs the host's bundle with this machine's Compose plugin, and uploads it under its digest, which it returns."""
    plugin = answer("docker", "info", "--format", _PLUGIN)
    with TemporaryDirectory() as name:
        command = (sys.executable, "-m", "scripts.host_bundle", name, "--compose-plugin", plugin)
        digest = answer(*command).splitlines()[-1]
        file = f"{digest.removeprefix('sha256:')}.tar.gz"
        tell("aws", "s3", "cp", "--only-show-errors", f"{name}/{file}", f"s3://{bucket}/host/{file}")
    return digest


def ask_aws(*command: str, absent: str = "") -> dict[str, Any] | None:
    """What it answers; None where the error is the one named. Raises AwsFailed."""
    whole = ("aws", *command, "--output", "json")
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout)
        return found
    if absent and f"({absent})" in done.stderr:
        return None
    raise AwsFailed(f"aws {' '.join(command[:2])}: {done.stderr.strip()}")


def answer(*command: str) -> str:
    """What it prints. Raises CalledProcessError."""
    return subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def tell(*command: str) -> None:
    """Runs it; what it prints goes to the log, not among the digests. Raises CalledProcessError."""
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
