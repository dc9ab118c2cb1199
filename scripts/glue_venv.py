"""The folder .venv-glue: the Python with Spark on which Glue's jobs run here. Twice is free; interrupted, it goes on.

`python -m scripts.glue_venv` prints the interpreter's path as its last line. It runs on any Python since 3.8.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from scripts.alone import alone
from scripts.packages import CONSTRAINTS, REQUIREMENTS, require_space
from scripts.refusal import AGAIN, Refusal, guarded, speak
from scripts.side_venv import fingerprint_of, run_uv
from scripts.venv import PYTHON, ROOT

FOLDER = ROOT / ".venv-glue"
INTERPRETER = FOLDER / "bin" / "python"
WANTED = REQUIREMENTS / "glue.txt"
SPARK_PYTHONS = ("3.11", "3.12")  # what PySpark 3.5 was made for; Glue 5 itself has 3.11
_STAMP = FOLDER / "made-of"
_GIGABYTES = 1.5


def main() -> int:
    """0 when it is there."""
    ensure_glue_venv()
    print(INTERPRETER, flush=True)
    return 0


def ensure_glue_venv() -> None:
    """Makes it, unless its stamp says that it is there."""
    with alone(WANTED, "Spark is being set up by somebody else; waiting for it …"):
        if is_current():
            return
        begun = time.monotonic()
        speak("Setting up Spark for the Glue jobs (400 MB to download; first time, or its pins have changed) …")
        require_space(_GIGABYTES, ROOT)
        if _STAMP.exists():
            _STAMP.unlink()
        if _version(INTERPRETER) not in SPARK_PYTHONS:
            _make()
        speak("Installing PySpark and Java …")
        constraints = ["-c", str(CONSTRAINTS), "--build-constraints", str(CONSTRAINTS)]
        run_uv("pip", "install", "--python", str(INTERPRETER), *constraints, "-r", str(WANTED))
        _STAMP.write_text(fingerprint())
        speak(f"Spark is there after {time.monotonic() - begun:.0f} s.")


def is_current() -> bool:
    """Whether the stamp was written for the same pins, Python and place."""
    try:
        return INTERPRETER.exists() and _STAMP.read_text() == fingerprint()
    except FileNotFoundError:
        return False


def fingerprint() -> str:
    """Of all that decides what is in it."""
    return fingerprint_of(FOLDER, (WANTED, CONSTRAINTS))


def _make() -> None:
    own = _version(PYTHON)
    python = str(PYTHON) if own in SPARK_PYTHONS else SPARK_PYTHONS[0]
    try:
        run_uv("venv", "--quiet", "--clear", "--python", python, str(FOLDER))
    except Refusal:
        if python == str(PYTHON):
            raise
        raise Refusal(
            f"install Python {python} for Spark, {AGAIN}: Spark does not run on the Python {own} of .venv, "
            f"and a {python} could not be downloaded."
        ) from None


def _version(python: Path) -> str:
    """For example "3.11"; "" where there is none that runs."""
    ask = "import sys; print('{}.{}'.format(*sys.version_info))"
    try:
        done = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(guarded(main))
