"""One call of a Lambda function, within its own process, under `leash.py`: no package is there but AWS's own.

function_call.py CALL RESULT: CALL is a JSON file {"handler", "event", "context", "deadline", "path"}; what the handler
returns is written to RESULT as JSON. What it raises leaves this process, and the leash reports it.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Context:
    """What a handler gets as its second argument."""

    def __init__(self, facts: dict[str, Any], deadline: float) -> None:
        self.__dict__.update(facts)
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        """Until the call is cut off."""
        return max(0, round((self._deadline - time.time()) * 1000))


def main() -> None:
    """Calls the handler once."""
    call = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result = Path(sys.argv[2])
    sys.path[:0] = call["path"]  # the function's folder, then AWS's packages
    module, _, name = call["handler"].rpartition(".")
    handler: Callable[[Any, Context], Any] = getattr(importlib.import_module(module), name)
    answer = handler(call["event"], Context(call["context"], call["deadline"]))
    result.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
