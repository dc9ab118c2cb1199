"""Glue as batches use it: start a run, ask how it is, stop it. Blocking: to be called in threads."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import structlog
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from backend.batches.errors import JobsAway
from backend.batches.storage import boto_config

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

__all__ = ["JobRuns", "RunStatus"]

log = structlog.get_logger()
_MOVING = ("STARTING", "RUNNING", "STOPPING", "WAITING")
_NO_ROOM = re.compile("concurrent|capacity|unavailable", re.IGNORECASE)
_AFTER_SENDING = (ReadTimeoutError, ConnectionClosedError)
_MOST_ATTEMPTS = 10
_STOP_SECONDS = 25


@dataclass(frozen=True)
class RunStatus:
    """What Glue says of a run: its id, its state in Glue's own word, its error's text, how many seconds it worked."""

    id: str
    state: str
    message: str = ""
    seconds: int = 0

    @property
    def moving(self) -> bool:
        """Whether something may still come of it."""
        return self.state in _MOVING

    @property
    def never_began(self) -> bool:
        """Whether Glue gave it up, after queueing it or at once, because it had no room for it: that may pass."""
        if self.state == "EXPIRED":
            return True
        return self.state in ("FAILED", "ERROR") and not self.seconds and _NO_ROOM.search(self.message) is not None


class JobRuns:
    """The runs of one Glue job. Safe to use from several threads."""

    def __init__(self, job_name: str, endpoint: str | None = None) -> None:
        self.job_name = job_name
        self._glue: GlueClient = boto3.client("glue", endpoint_url=endpoint, config=boto_config())
        # A start that is sent again after its answer was lost would be a second run.
        self._starter: GlueClient = boto3.client("glue", endpoint_url=endpoint, config=boto_config(attempts=1))

    def start(self, arguments: Mapping[str, str]) -> str:
        """Starts a run and returns its id. Raises JobsAway, also when too many run already."""
        with _answers():
            return self._starter.start_job_run(JobName=self.job_name, Arguments=arguments)["JobRunId"]

    def status(self, job_name: str, run_id: str) -> RunStatus:
        """Of the run's last attempt: Glue's own retries are runs whose ids end in _attempt_1, _attempt_2, …"""
        status = self._one(job_name, run_id) or RunStatus(run_id, "UNKNOWN", "Glue does not know the run (any more).")
        for attempt in range(1, _MOST_ATTEMPTS):
            if status.moving or status.state == "SUCCEEDED":
                break
            later = self._one(job_name, f"{run_id}_attempt_{attempt}")
            if later is None:
                break
            status = later
        return status

    def stop(self, job_name: str, run_id: str) -> None:
        """Stops the run if it moves, and waits until it does not. Raises JobsAway, also when that takes too long."""
        status = self.status(job_name, run_id)
        if not status.moving:
            return
        with _answers():
            self._glue.batch_stop_job_run(JobName=job_name, JobRunIds=[status.id])
        deadline = time.monotonic() + _STOP_SECONDS
        while self.status(job_name, run_id).moving:
            if time.monotonic() > deadline:
                raise JobsAway("the run is still stopping. Try again in a minute.")
            time.sleep(0.3)

    def _one(self, job_name: str, run_id: str) -> RunStatus | None:
        with _answers():
            try:
                run = self._glue.get_job_run(JobName=job_name, RunId=run_id)["JobRun"]
            except self._glue.exceptions.EntityNotFoundException:
                return None
        state, message = run.get("JobRunState", "UNKNOWN"), run.get("ErrorMessage", "")
        return RunStatus(run_id, state, message, run.get("ExecutionTime", 0))


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        # The message may name accounts and roles: it is for the log.
        log.warning("glue refuses", error=str(error))
        raise JobsAway(f"{error.response.get('Error', {}).get('Code', 'no reason given')}.") from error
    except BotoCoreError as error:
        raise JobsAway(f"{type(error).__name__}.", sent=isinstance(error, _AFTER_SENDING)) from error
