"""What a rolling update asks of Docker: the containers of one Compose project, and what is to be done with them."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

_SERVICE, _CONFIG = "com.docker.compose.service", "com.docker.compose.config-hash"
_LAST_LINES = "20"


class DockerFailed(Exception):
    """A command of Docker's that did not work. The text has its last words."""


@dataclass(frozen=True)
class Container:
    """As Docker sees it now. `health`: starting, healthy, unhealthy, "" without a check. `image`: the name it was
    started by. `config`: Compose's hash.
    """

    id: str
    name: str
    service: str
    status: str
    health: str
    last_check: str
    restarts: int
    created: str
    image: str
    config: str


class Docker:
    """The Compose project of a folder; what its `.env` and `defaults` do not name, the environment names."""

    def __init__(self, folder: Path, defaults: Mapping[str, str]) -> None:
        self._folder = folder
        self._defaults = defaults

    def containers(self, service: str) -> list[Container]:
        """Those of a service, running or not."""
        found = (self.container(each) for each in self._compose("ps", "--all", "--quiet", service).split())
        return [each for each in found if each]

    def container(self, id: str) -> Container | None:  # noqa: A002  # Docker's own word
        """None where it is gone."""
        try:
            return _read(json.loads(self._run(["docker", "inspect", id]))[0])
        except DockerFailed as failed:
            if "o such" in str(failed):
                return None
            raise

    def config_of(self, service: str, override: Mapping[str, str]) -> str:
        """The hash that a container of this service would have if it were made now.

        Of what Compose makes of its files: asked for the hash at once, it leaves out what an env_file holds.
        """
        resolved = self._compose("config", "--format", "json", service, override=override)
        return self._run(["docker", "compose", "--file", "-", "config", "--hash", service], stdin=resolved).split()[-1]

    def fetch(self, image: str) -> None:
        """Pulls an image that is not here."""
        try:
            self._run(["docker", "image", "inspect", image])
        except DockerFailed:
            self._run(["docker", "pull", "--quiet", image])

    def check(self, service: str, override: Mapping[str, str]) -> None:
        """Has the image's entry point look at its own configuration."""
        self._compose("run", "--rm", "--no-deps", "--no-TTY", service, "check", override=override)

    def up(self, service: str, override: Mapping[str, str], scale: int, recreate: bool = False) -> None:
        """Starts as many as are to be there; those that run stay as they are unless they are to be recreated."""
        how = "--force-recreate" if recreate else "--no-recreate"
        self._compose("up", "--detach", "--no-deps", "--no-build", how, "--scale", f"{service}={scale}", service,
                      override=override)  # fmt: skip

    def remove(self, container: Container) -> None:
        """Stops it, which lets it drain for as long as its stop_grace_period says, and removes it."""
        self._run(["docker", "stop", container.id])
        self._run(["docker", "rm", "--force", "--volumes", container.id])

    def last_lines(self, container: Container) -> list[str]:
        """What it said last."""
        return self._run(["docker", "logs", "--tail", _LAST_LINES, container.id], both=True).splitlines()

    def _compose(self, *arguments: str, override: Mapping[str, str] | None = None) -> str:
        # What the environment says goes before what the file says.
        return self._run(
            ["docker", "compose", "--env-file", ".env", *arguments],
            {**os.environ, **self._defaults, **(override or {})},
        )

    def _run(
        self, command: list[str], env: Mapping[str, str] | None = None, both: bool = False, stdin: str = ""
    ) -> str:
        errors = subprocess.STDOUT if both else subprocess.PIPE
        done = subprocess.run(command, cwd=str(self._folder), env=env, input=stdin, stdout=subprocess.PIPE,
                              stderr=errors, text=True, check=False)  # fmt: skip
        if done.returncode:
            said = ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
            raise DockerFailed(f"`{' '.join(command[:3])} …` ended with {done.returncode}: {said}")
        return done.stdout


def _read(facts: dict[str, Any]) -> Container:
    state, labels = facts["State"], facts["Config"]["Labels"]
    health = state.get("Health") or {}
    checks = health.get("Log") or [{"Output": "it was not checked yet"}]
    return Container(
        id=facts["Id"],
        name=facts["Name"].lstrip("/"),
        service=labels.get(_SERVICE, ""),
        status=state["Status"],
        health=health.get("Status", ""),
        last_check=(checks[-1]["Output"].strip().splitlines() or ["the check said nothing"])[-1],
        restarts=facts["RestartCount"],
        created=facts["Created"],
        image=facts["Config"]["Image"],
        config=labels.get(_CONFIG, ""),
    )
