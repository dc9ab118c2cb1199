"""The `terraform` command on a copy of infra/, with the providers that TF_CLI_CONFIG_FILE or the registry offers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
ACCOUNT = "123456789012"  # moto's
VARIABLES = {
    "region": "us-east-1",
    "domain": "ninefold.example",
    "alarm_email": "someone@ninefold.example",
    "github_subject": "repo:someone@1/ninefold@2",
    "state_bucket": "some-state",
    "backend_settings": '{"NINEFOLD_QUEUE_IMAGES": "72"}',
    "force_destroy": "true",
}


class Terraform:
    """A copy of infra/ in `folder`, where nothing of this checkout is written to."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = {}, values: Mapping[str, str] = {}) -> None:
        if shutil.which("terraform") is None:
            pytest.skip("there is no `terraform` here (1.10 or newer)")
        shutil.copytree(INFRA, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars"))
        self.folder = folder
        self._environment = {**os.environ, **environment} | {f"TF_VAR_{name}": text for name, text in values.items()}

    def run(self, *arguments: str, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """Whatever it ends with."""
        command = ["terraform", *arguments, "-no-color"]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def __call__(self, *arguments: str) -> str:
        """What it said; it has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"terraform {' '.join(arguments)}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout
