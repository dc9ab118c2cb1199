"""How set-up and start say no: one sentence with what to do, no traceback, exit code 1."""

from __future__ import annotations

import errno
import sys
from typing import Callable

AGAIN = "then type the same command again"


class Refusal(Exception):
    """Cannot go on. Its text is the one sentence a person gets."""


def speak(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


def guarded(work: Callable[[], int]) -> int:
    """The exit code of `work`, whatever happens in it."""
    try:
        return work()
    except Refusal as refusal:
        sentence = str(refusal)
    except KeyboardInterrupt:
        speak("\nStopped. The same command continues from here.")
        return 130
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sentence = f"the disk is full: free some space, {AGAIN}."
        else:
            sentence = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."
    print(f"\nninefold: {sentence}", file=sys.stderr, flush=True)
    return 1
