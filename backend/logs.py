"""Structured logs: one line an event, each with the id of the request it belongs to."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Literal

import structlog


class _Lines(structlog.WriteLogger):
    """One line a message. A log that cannot be written (a full disk, a reader that went away) stops nobody's work."""

    def msg(self, message: str) -> None:
        """Writes it if that can be done."""
        with suppress(OSError, ValueError):  # a UnicodeError is a ValueError
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def configure_logs(log_format: Literal["json", "console"]) -> None:
    """Sends structlog's and the standard library's records to standard output in the same shape."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        last: list[structlog.types.Processor] = [
            # Without local variables: they would write headers and pictures into the log.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)]
    # Past the standard library's logging, whose records cost more than the rest of a line.
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=lambda *_: _Lines(sys.stdout),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("uvicorn.error").addFilter(_without_addresses)


def _without_addresses(record: logging.LogRecord) -> bool:
    """uvicorn's lines about WebSockets hold the whole address, and so a token; and anybody can cause them."""
    return "WebSocket" not in str(record.msg) and "upgrade" not in str(record.msg)
