"""What the load test itself can drive: one worker, and several, against a server that does nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from cli.loadtest.bodies import MOST_MULTIPART, Picture, Tensor, bodies
from cli.loadtest.fleet import Measured, measure
from cli.loadtest.noop import noop
from cli.loadtest.plan import Plan
from cli.loadtest.report import Report, report
from cli.loadtest.target import PREDICT

SECONDS = 3.0
WARMUP_SECONDS = 0.5
_STAND_IN = Picture("picture.jpg", os.urandom(120_000))
"""As large as a photograph of 500 × 400."""


def ceiling(plan: Plan, given: Sequence[Picture], tell: Callable[[Measured], None]) -> list[Report]:
    """A report for one thread, for all threads of one worker and for all workers of `plan`; with both sides' load.

    `worker_cores` and `server_cores`: processors in use; a server that uses all of its own is the limit.
    """
    infer = plan.images > MOST_MULTIPART
    made = bodies(given or [_STAND_IN], plan.images, Tensor("images") if infer else None)
    found = []
    for workers, threads in dict.fromkeys([(1, 1), (1, plan.threads), (plan.workers, plan.threads)]):
        with noop(plan.images, workers) as server:
            url = server.url + ("/v2/models/none/infer" if infer else PREDICT)
            each = replace(plan, url=url, infer=infer, workers=workers, threads=threads, headers=())
            before = server.cpu_seconds()  # it is up
            measured = measure(each, made, tell)
            figures = report(measured)
            found.append(figures | _load(figures, server.cpu_seconds() - before, each))
        if measured.stopped:
            break
    return found


def _load(figures: Report, server_cpu_seconds: float, plan: Plan) -> dict[str, Any]:
    worker_cpu = (figures["client_cpu_ms_per_request"] or 0) * figures["requests"] / 1000
    return {
        "worker_cores": worker_cpu / max(figures["elapsed_seconds"], 1e-9),
        "server_cores": server_cpu_seconds / max(figures["elapsed_seconds"] + plan.warmup, 1e-9),
    }


def table(found: Sequence[Report]) -> Table:
    """A row each."""
    made = Table(title="what this load test drives, against a server that does nothing", title_justify="left")
    for name in ("workers × threads", "requests/s", "MB/s sent", "CPU a request", "cores: ours, server's"):
        made.add_column(name, justify="right")
    for each in found:
        megabytes = each["bytes_sent"] / 1e6 / max(each["elapsed_seconds"], 1e-9)
        cores = f"{each['worker_cores']:.2f}, {each['server_cores']:.2f}"
        made.add_row(
            f"{each['workers']} × {each['threads']}",
            f"{each['requests_per_second']:,.0f}",
            f"{megabytes:,.0f}",
            f"{each['client_cpu_ms_per_request'] or 0:.3f} ms",
            cores,
        )
    return made
