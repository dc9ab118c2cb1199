"""A rolling update of one host: the new container beside the old one, and the old one goes once the new one has stood.

    python3 -m scripts.roll --directory /opt/ninefold --backend IMAGE [--frontend IMAGE] [--proxy IMAGE]

The folder holds the Compose files and `.env`, which names each service's image: a new one only after it has proved
itself. Whatever fails, what ran before runs on, and what was rolled before it is rolled back. 0: all of them
run; 1: not, and why. The standard library alone, any Python since 3.8: it runs on the host, which has nothing else.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from scripts.alone import alone
from scripts.containers import Container, Docker, DockerFailed
from scripts.env_file import read_value, write_value
from scripts.refusal import Refusal, guarded, speak

VARIABLES = {
    "backend": "NINEFOLD_BACKEND_IMAGE",
    "frontend": "NINEFOLD_FRONTEND_IMAGE",
    "proxy": "NINEFOLD_PROXY_IMAGE",
}
_TICK_SECONDS = 0.5
_HEALTHY = "healthy"


class NotStanding(Exception):
    """The new container is not to be trusted. The text says why."""


@dataclass(frozen=True)
class Limits:
    """How long a new container may take to be ready, and how long it must then stand beside the old one."""

    ready_seconds: float
    bake_seconds: float


def main() -> int:
    """0, or Refusal."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a half-done roll is taken back then, too
    wanted = {name: getattr(asked, name) for name in VARIABLES if getattr(asked, name)}
    if not wanted:
        raise Refusal("name an image: --backend, --frontend or --proxy.")
    env_file = asked.directory / ".env"
    if not asked.directory.is_dir():
        raise Refusal(f"there is no folder {asked.directory}.")
    env_file.touch()
    limits = Limits(asked.ready_seconds, asked.bake_seconds)
    with alone(env_file.parent, "Another roll of this host is at work; waiting for it …"):
        # A host's very first roll: Compose wants all images named before it does anything.
        unnamed = {
            VARIABLES[name]: image for name, image in wanted.items() if not read_value(env_file, VARIABLES[name])
        }
        roll_all(Docker(asked.directory, unnamed), env_file, wanted, limits)
    return 0


def roll_all(docker: Docker, env_file: Path, wanted: dict[str, str], limits: Limits) -> None:
    """All of them, one after the other, or none: Refusal says which failed, and why."""
    done: list[tuple[str, str]] = []
    for service, image in wanted.items():
        previous = read_value(env_file, VARIABLES[service])
        try:
            _roll(docker, service, image, previous, limits)
        except (NotStanding, DockerFailed) as failed:
            raise Refusal(f"{service} was not rolled: {failed} {_take_back(docker, env_file, done, limits)}") from None
        except KeyboardInterrupt:
            raise Refusal(f"stopped within {service}. {_take_back(docker, env_file, done, limits)}") from None
        write_value(env_file, VARIABLES[service], image)
        done.append((service, previous))


def _take_back(docker: Docker, env_file: Path, done: list[tuple[str, str]], limits: Limits) -> str:
    """What was rolled before, to what it was. Says how that went."""
    for service, previous in reversed(done):
        if not previous:
            continue
        speak(f"{service}: back to {previous} …")
        try:
            _roll(docker, service, previous, previous, Limits(limits.ready_seconds, 0))
        except (NotStanding, DockerFailed) as failed:
            return f"{service} could not be rolled back, and runs as new: {failed}"
        write_value(env_file, VARIABLES[service], previous)
    return "What ran before runs on."


def _roll(docker: Docker, service: str, image: str, named: str, limits: Limits) -> None:
    """One service from the `named` image to another. Raises NotStanding or DockerFailed: then it is as before."""
    override = {VARIABLES[service]: image}
    docker.fetch(image)
    old = _settled(docker, service, named)
    if old and old.config == docker.config_of(service, override) and old.health == _HEALTHY:
        speak(f"{service}: {image} runs already.")
    elif service == "proxy":
        _replace(docker, service, old, override, limits)
    else:
        _beside(docker, service, old, override, limits)


def _beside(docker: Docker, service: str, old: Container | None, override: dict[str, str], limits: Limits) -> None:
    """Starts the new one, watches it, then stops the old one, which drains."""
    before = {each.id for each in docker.containers(service)}
    try:
        docker.up(service, override, scale=len(before) + 1)
        new = next((each for each in docker.containers(service) if each.id not in before), None)
        if new is None:
            raise NotStanding("Compose started no container.")
        speak(f"{service}: {new.name} is started …")
        _watch(docker, new, limits)
    except BaseException:
        for each in docker.containers(service):
            if each.id not in before:
                _tell_and_remove(docker, each)
        raise
    if old:
        speak(f"{service}: {new.name} stands; {old.name} drains …")
        docker.remove(old)
    speak(f"{service}: {new.name} has taken over.")


def _replace(docker: Docker, service: str, old: Container | None, override: dict[str, str], limits: Limits) -> None:
    """For what holds the host's ports, of which there cannot be two: a break of a second or two."""
    docker.check(service, override)
    try:
        docker.up(service, override, scale=1, recreate=True)
        new = next(iter(docker.containers(service)), None)
        if new is None:
            raise NotStanding("Compose started no container.")
        _watch(docker, new, limits)
    except BaseException:
        for each in docker.containers(service):
            if not old or each.id != old.id:
                _tell_and_remove(docker, each)
        if old:
            docker.up(service, {}, scale=1)
        raise
    speak(f"{service}: replaced.")


def _watch(docker: Docker, new: Container, limits: Limits) -> None:
    """Returns once it has been ready within its time and stood for its time. Raises NotStanding."""
    begun = time.monotonic()
    _until(docker, new, lambda now: now.health == _HEALTHY, limits.ready_seconds)
    took = time.monotonic() - begun
    speak(f"{new.service}: {new.name} is ready after {took:.0f} s; watched for {limits.bake_seconds:g} s …")
    baked = time.monotonic() + limits.bake_seconds
    _until(docker, new, lambda _: time.monotonic() >= baked, limits.bake_seconds + 60, must_be_healthy=True)


def _until(
    docker: Docker, new: Container, true: Callable[[Container], bool], seconds: float, must_be_healthy: bool = False
) -> None:
    """Looks twice a second; whatever shows that the container does not stand ends it."""
    deadline = time.monotonic() + seconds
    while True:
        now = docker.container(new.id)
        if now is None or now.restarts or now.status not in ("created", "running"):
            raise NotStanding(f"{new.name} ended by itself.")
        if now.health == "unhealthy" or (must_be_healthy and now.health != _HEALTHY):
            raise NotStanding(f"{new.name} is unhealthy: {now.last_check}")
        if true(now):
            return
        if time.monotonic() >= deadline:
            raise NotStanding(f"{new.name} was not ready within {seconds:g} s: {now.last_check}")
        time.sleep(_TICK_SECONDS)


def _settled(docker: Docker, service: str, image: str) -> Container | None:
    """The one container that serves. More are left by a roll that was killed: only that of `image` stays."""
    there = docker.containers(service)
    if len(there) < 2:
        return there[0] if there else None
    there.sort(key=lambda each: (each.health == _HEALTHY, each.image == image, each.created))
    for each in there[:-1]:
        speak(f"{service}: {each.name} is left from an interrupted roll and goes …")
        docker.remove(each)
    return there[-1]


def _tell_and_remove(docker: Docker, failed: Container) -> None:
    speak(f"{failed.service}: {failed.name} goes again. Its last lines:")
    try:
        for line in docker.last_lines(failed):
            speak(f"  {line}")
    except DockerFailed as silent:
        speak(f"  (none to be had: {silent})")
    docker.remove(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="roll", description="Roll services of this host to other images.")
    parser.add_argument("--directory", type=Path, required=True, help="the folder of the Compose files and of .env")
    for name in VARIABLES:
        parser.add_argument(f"--{name}", metavar="IMAGE", help="repository@sha256:…, or a tag that is here")
    parser.add_argument("--ready-seconds", type=float, default=120, help="until it must be ready (120)")
    parser.add_argument("--bake-seconds", type=float, default=20, help="then watched for so long (20)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guarded(main))
