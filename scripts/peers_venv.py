"""The folder .venv-peers: the Python of the servers ours is measured against. Twice is free; interrupted, it goes on.

`python -m scripts.peers_venv` prints the interpreter's path as its last line.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

from scripts.alone import alone
from scripts.packages import CPU_BUILD, PLAIN_BUILD, REQUIREMENTS, require_space
from scripts.refusal import guarded, speak
from scripts.side_venv import fingerprint_of, run_uv
from scripts.venv import PYTHON, ROOT

FOLDER = ROOT / ".venv-peers"
INTERPRETER = FOLDER / "bin" / "python"
WANTED = REQUIREMENTS / "peers.txt"
CONSTRAINTS = REQUIREMENTS / "peers-constraints.txt"
_STAMP = FOLDER / "made-of"


def main() -> int:
    """0 when it is there."""
    ensure_peers_venv()
    print(INTERPRETER, flush=True)
    return 0


def ensure_peers_venv() -> None:
    """Makes it, unless its stamp says that it is there."""
    with alone(WANTED, "The peers are being set up by somebody else; waiting for it …"):
        if is_current():
            return
        begun = time.monotonic()
        build = CPU_BUILD if version("torch").endswith("+cpu") else PLAIN_BUILD  # .venv's own, which uv still has
        require_space(build.gigabytes, ROOT)
        speak("Setting up the peers' environment (first time, or its pins have changed) …")
        if _STAMP.exists():
            _STAMP.unlink()
        if not INTERPRETER.exists():
            run_uv("venv", "--quiet", "--clear", "--python", str(PYTHON), str(FOLDER))
        run_uv(
            "pip", "install", "--python", str(INTERPRETER), *build.options, "-c", str(CONSTRAINTS), "-r", str(WANTED)
        )
        _STAMP.write_text(fingerprint())
        speak(f"The peers are there after {time.monotonic() - begun:.0f} s.")


def is_current() -> bool:
    """Whether the stamp was written for the same pins, Python and place."""
    try:
        return INTERPRETER.exists() and _STAMP.read_text() == fingerprint()
    except FileNotFoundError:
        return False


def fingerprint() -> str:
    """Of all that decides what is in it."""
    return fingerprint_of(FOLDER, (WANTED, CONSTRAINTS))


if __name__ == "__main__":
    sys.exit(guarded(main))
