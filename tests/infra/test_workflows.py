"""What the workflows run: good shell, and targets and modules that are there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.infra.terraform import ROOT, VARIABLES

FOLDER = ROOT / ".github" / "workflows"
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return found


def steps() -> list[tuple[str, list[str]]]:
    """The text of every `run:`, with the names that its environment has."""
    found: list[tuple[str, list[str]]] = []
    for whole in map(workflow, sorted(path.name for path in FOLDER.glob("*.yml"))):
        every = [step for job in whole["jobs"].values() for step in job.get("steps", []) if "run" in step]
        found += [(step["run"], [*whole.get("env", {}), *step.get("env", {})]) for step in every]
    return found


def test_each_step_is_good_shell(tmp_path: Path) -> None:
    for number, (command, names) in enumerate(steps()):
        declared = "".join(f"export {name}=set\n" for name in names)
        (tmp_path / f"step-{number}.sh").write_text(f"#!/bin/bash\n{declared}{command}\n", encoding="utf-8")
        assert "${{" not in command  # what others may choose reaches a shell by its environment alone
    files = sorted(tmp_path.iterdir())
    assert len(files) > 10
    done = subprocess.run([SHELLCHECK, *files], text=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


def test_what_the_steps_call_is_there() -> None:
    text = "\n".join(command for command, _ in steps())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    made, modules = set(re.findall(r"make ([a-z-]+)", text)), set(re.findall(r"python -m ([a-z_.]+)", text))
    assert made == {"check", "test", "test-compose"} and made <= targets
    assert modules and all(importlib.util.find_spec(module) for module in modules)
    assert all((ROOT / name).is_file() for name in re.findall(r"--file (\S+)", text))


def test_terraform_is_told_every_variable_without_a_default() -> None:
    declared = (ROOT / "infra" / "variables.tf").read_text(encoding="utf-8")
    blocks = re.findall(r'variable "(\w+)" {(.+?)\n}', declared, re.DOTALL)
    needed = {name for name, body in blocks if "default" not in body}
    told = {name.removeprefix("TF_VAR_") for name in workflow("deploy.yml")["env"] if name.startswith("TF_VAR_")}
    assert needed <= told <= {name for name, _ in blocks}
    assert needed <= set(VARIABLES)


def test_only_the_job_that_a_person_approves_changes_anything() -> None:
    jobs = workflow("deploy.yml")["jobs"]
    assert {name: job["environment"] for name, job in jobs.items()} == {"build": "build", "apply": "production"}
    built = [step.get("run", "") for step in jobs["build"]["steps"]]
    assert not [step for step in built if "terraform" in step and " apply" in step]
    assert workflow("deploy.yml")["concurrency"] == {"group": "deploy", "cancel-in-progress": False}
