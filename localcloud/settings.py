"""Every setting of the stand-in, read from the environment in this one place and passed down from here."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REGION = "us-east-1"
ROOT = Path(__file__).resolve().parent.parent


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class BadSetting(ValueError):
    """A value that cannot be read. Its text names the variable and what is wrong."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().rstrip("/") for word in text.split(",") if word.strip())


def _seconds(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(","))


def _port(text: str) -> int:
    if not 0 <= (port := int(text)) <= 65535:
        raise ValueError(text)
    return port


def _command(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


@dataclass(frozen=True)
class Settings:
    """Frozen. `VARIABLES` names each field's variable; docs/operations.md lists them."""

    host: str = "127.0.0.1"
    port: int = 9000
    names: tuple[str, ...] = ()
    """Names by which it may be asked, and with a bucket's in front, beside those that localcloud.names finds."""
    folder: Path | None = None
    """Where objects and the runs' logs lie; without it a temporary folder that goes with the process."""
    empty: bool = False
    """Create nothing at the start: somebody else (Terraform) does."""
    bucket: str = "ninefold"
    job: str = "ninefold-preprocess"
    page_origins: tuple[str, ...] = ("http://127.0.0.1:8501", "http://localhost:8501")
    """Pages whose scripts may talk to this server; `*` for all."""
    code_dir: Path = Path("build")
    """lambda.zip, preprocess.py and modules.zip."""
    glue_python: str | None = None
    """The interpreter with Spark. Without it, what `glue_python_command` prints last."""
    glue_python_command: tuple[str, ...] = (sys.executable, "-m", "scripts.glue_venv")
    spark_master: str = f"local[{processors()}]"
    spark_memory: str = "1g"
    lambda_retry_seconds: tuple[float, ...] = (60.0, 120.0)
    """Pauses before the function is tried again for an event."""
    glue_minute_seconds: float = 60.0
    """What a minute of a run's time-out lasts: tests have no minutes to spare."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """From the environment; what is not set, or empty, keeps its default. Raises BadSetting."""
        given: dict[str, Any] = {}
        for name, (variable, read) in VARIABLES.items():
            if text := environment.get(variable):
                try:
                    given[name] = read(text)
                except ValueError:
                    raise BadSetting(f"{variable}={text} cannot be understood") from None
        return cls(**given)


VARIABLES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "host": ("NINEFOLD_CLOUD_HOST", str),
    "port": ("NINEFOLD_CLOUD_PORT", _port),
    "names": ("NINEFOLD_CLOUD_NAMES", _words),
    "folder": ("NINEFOLD_CLOUD_DIR", Path),
    "empty": ("NINEFOLD_CLOUD_EMPTY", lambda text: text != "0"),
    "bucket": ("NINEFOLD_BUCKET", str),
    "job": ("NINEFOLD_GLUE_JOB", str),
    "page_origins": ("NINEFOLD_PAGE_ORIGINS", _words),
    "code_dir": ("NINEFOLD_CODE_DIR", Path),
    "glue_python": ("NINEFOLD_GLUE_PYTHON", str),
    "glue_python_command": ("NINEFOLD_GLUE_PYTHON_COMMAND", _command),
    "spark_master": ("NINEFOLD_SPARK_MASTER", str),
    "spark_memory": ("NINEFOLD_SPARK_MEMORY", str),
    "lambda_retry_seconds": ("NINEFOLD_LAMBDA_RETRY_SECONDS", _seconds),
    "glue_minute_seconds": ("NINEFOLD_GLUE_MINUTE_SECONDS", float),
}
