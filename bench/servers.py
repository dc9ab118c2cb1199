"""Servers for a measurement: started on a free loopback port, ended by their id, their memory summed up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

import httpx
import psutil

from inference.artefacts import Artefact, ArtefactStore, Variant
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
MODEL = "resnet18-seeded"
"""Random weights: every machine can build them, and speed does not depend on the numbers."""


def artefact(precision: str) -> Artefact:
    """What is measured; ends the program with the command that makes it, where it is not there."""
    models = ROOT / (os.environ.get("NINEFOLD_MODELS_DIR") or "models")
    found = ArtefactStore(models).get(Variant(MODEL, precision))
    return found or sys.exit(f"bench: build {MODEL} in {precision} first: ninefold models build {MODEL}")


def measured(precision: str) -> dict[str, str]:
    """The settings of a server of ours that answers with the model of the measurements."""
    return {"NINEFOLD_MODEL": MODEL, "NINEFOLD_PRECISION": artefact(precision).card.precision}


@contextmanager
def own_server(**environment: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address and the process of `python -m backend`, for as long as the block lasts."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = environment | {"NINEFOLD_PORT": str(port)}
    with process([sys.executable, "-m", "backend"], env, _answers(f"{url}/readyz")) as started:
        yield url, started


@contextmanager
def process(
    command: Sequence[str], environment: Mapping[str, str], ready: Callable[[], bool], seconds: float = 120
) -> Iterator[psutil.Process]:
    """A process that is ready, and ended with all its children after the block; its words are shown if it fails."""
    with TemporaryFile() as log:
        started = subprocess.Popen(command, cwd=ROOT, env=os.environ | dict(environment), stdout=log, stderr=log)
        root = psutil.Process(started.pid)
        try:
            deadline = time.monotonic() + seconds
            while not ready():
                if started.poll() is not None or time.monotonic() > deadline:
                    said = os.pread(log.fileno(), 1_000_000, 0).decode(errors="replace")
                    sys.exit(f"{said}\nbench: {' '.join(command)} did not become ready within {seconds:.0f} s")
                time.sleep(0.05)
            yield root
        finally:
            end(root, started)


def end(root: psutil.Process, started: subprocess.Popen[bytes]) -> None:
    """Asks the process to end, then ends what is left of it and of its children."""
    family = tree(root)
    started.terminate()
    with suppress(subprocess.TimeoutExpired):
        started.wait(20)
    for left in family:
        with suppress(psutil.NoSuchProcess):
            left.kill()
    started.wait(10)


def tree(root: psutil.Process) -> list[psutil.Process]:
    """The process and all beneath it; empty once it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []


def resident_megabytes(root: psutil.Process) -> float:
    """Resident memory of the process and all beneath it, summed (so what they share counts as often), in 10^6 bytes."""
    return _summed(root, lambda each: each.memory_info().rss)


def proportional_megabytes(root: psutil.Process) -> float:
    """The same with what is shared counted once, where the system tells (Linux); else as `resident_megabytes`."""
    return _summed(root, lambda each: getattr(each.memory_full_info(), "pss", 0) or each.memory_info().rss)


def _summed(root: psutil.Process, look: Callable[[psutil.Process], int]) -> float:
    total = 0
    for each in tree(root):
        with suppress(psutil.Error):
            total += look(each)
    return total / 1e6


def _answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            return httpx.get(url, trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    return ready
