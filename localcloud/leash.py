"""Runs another Python file as the program, tells what it died of, and dies with whoever started it.

leash.py REPORT FILE [ARGUMENTS]: runs in Lambda's and Glue's processes, so it imports the standard library alone.
Standard input is a pipe from the parent. Its end means that the parent is gone, however it went: the group is killed.
An uncaught exception is written to REPORT as Lambda words it: {"errorType", "errorMessage", "stackTrace"}.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import traceback
from pathlib import Path


def main() -> None:
    """Exits as the program exits."""
    report, program = Path(sys.argv[1]), sys.argv[2]
    _hold()
    sys.argv = sys.argv[2:]
    if sys.path[0] == str(Path(__file__).parent):  # not so under `python -I`
        sys.path[0] = str(Path(program).parent)
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as leave:
        if leave.code not in (None, 0):
            _tell(report, leave, [])
        raise
    except BaseException as error:  # noqa: BLE001  # whatever ends the program is told
        _tell(report, error, _own_frames(error, program))
        sys.exit(1)


def _hold() -> None:
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_die_with_parent, args=(pipe,), daemon=True).start()


def _die_with_parent(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _own_frames(error: BaseException, program: str) -> list[str]:
    """The traceback without the frames of this file and of runpy; printed, too, as Python would."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((number for number, frame in enumerate(frames) if frame.filename == program), 0)
    told = traceback.TracebackException.from_exception(error)
    del told.stack[:first]
    print("".join(told.format()), file=sys.stderr, flush=True)
    return traceback.format_list(frames[first:])


def _tell(report: Path, error: BaseException, frames: list[str]) -> None:
    told = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": frames}
    report.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
