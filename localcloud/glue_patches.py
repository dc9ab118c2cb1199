"""What is changed in moto's Glue: runs are really run, and tell what became of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.glue import models, responses
from moto.glue.exceptions import ConcurrentRunsExceededException

FINAL = frozenset({"SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED", "ERROR"})
_STARTING = threading.Lock()


class JobRun(models.FakeJobRun):
    """A run whose state only the runner changes: moto's own moves on whenever somebody looks at it."""

    attempt = 0
    error_message = ""
    glue_version = "0.9"
    ended_on: datetime | None = None
    _retry_id: str | None = None

    def __init__(self, *rest: Any, **named: Any) -> None:
        super().__init__(*rest, **named)
        self.stop_asked = threading.Event()

    @property
    def status(self) -> str:
        """As Glue names it."""
        return str(self._status)

    @status.setter
    def status(self, value: str) -> None:
        self._status, self.modified_on = value, utcnow()

    @property
    def final(self) -> bool:
        """Whether nothing more will become of it."""
        return self.status in FINAL

    def end(self, state: str, message: str = "") -> None:
        """Its last state. What is shown with a state is there before the state is."""
        self.error_message, self.ended_on = message, utcnow()
        self.status = state

    def retry(self) -> JobRun:
        """The run that Glue starts when this one has failed: named after the first one."""
        again = JobRun(
            job_name=self.job_name,
            job_run_id=self.job_run_id,
            arguments=self.arguments,
            allocated_capacity=self.allocated_capacity,
            max_capacity=self.max_capacity,
            timeout=self.timeout,
            worker_type=self.worker_type,
            notification_property=self.notification_property,
            security_configuration=self.security_configuration,
            number_of_workers=self.number_of_workers,
        )
        again.attempt = self.attempt + 1
        again.glue_version = self.glue_version
        first = self.job_run_id.partition("_attempt_")[0]
        again.job_run_id = f"{first}_attempt_{again.attempt}"
        return again

    def as_dict(self) -> dict[str, Any]:
        """moto's answer, with invented values replaced by true ones."""
        shown = super().as_dict()
        shown |= {"Attempt": self.attempt, "GlueVersion": self.glue_version}
        shown |= {"ExecutionTime": round(((self.ended_on or utcnow()) - self.started_on).total_seconds())}
        shown |= {"CompletedOn": self.ended_on, "ErrorMessage": self.error_message or None}
        return {name: value for name, value in shown.items() if value is not None}


def install(accept: Callable[[models.FakeJob, JobRun], None]) -> None:
    """Once a process, before the first request. `accept` takes each started run and returns at once."""
    models.FakeJobRun = JobRun  # type: ignore[misc]
    _start_for_real(accept)
    _newest_first()
    _stop_runs()


class _Acceptor(Protocol):
    def __call__(self, job: models.FakeJob, run: JobRun) -> None: ...


def _start_for_real(accept: Callable[[models.FakeJob, JobRun], None]) -> None:
    """A run is handed to the runner. MaxConcurrentRuns counts every run that has not ended, under a lock."""
    original = models.FakeJob.start_job_run

    def start_job_run(self: models.FakeJob, *rest: Any, **named: Any) -> str:
        with _STARTING:
            unfinished = sum(not run.final for run in self.job_runs)  # type: ignore[attr-defined]
            most = self.execution_property.get("MaxConcurrentRuns", 1)
            if unfinished >= most:
                raise ConcurrentRunsExceededException(
                    f"Concurrent runs exceeded for {self.name}: {unfinished} of {most} have not ended"
                )
            run_id = original(self, *rest, **named)
            run = self.job_runs[-1]
        assert isinstance(run, JobRun)  # noqa: S101  # the class was replaced above
        run.glue_version = self.glue_version or run.glue_version
        accept(self, run)
        return run_id

    models.FakeJob.start_job_run = start_job_run  # type: ignore[method-assign]


def _newest_first() -> None:
    """GetJobRuns lists the newest run first; moto the oldest."""

    def get_job_runs(self: models.FakeJob) -> list[models.FakeJobRun]:
        return self.job_runs[::-1]

    models.FakeJob.get_job_runs = get_job_runs  # type: ignore[method-assign]


def _stop_runs() -> None:
    """BatchStopJobRun, which moto lacks. A run that has ended is an error of its own, not of the request."""

    def batch_stop_job_run(self: responses.GlueResponse) -> ActionResult:
        name = self._get_param("JobName")
        runs = {run.job_run_id: run for run in self.glue_backend.get_job(name).job_runs}
        stopped, errors = [], []
        for run_id in self._get_param("JobRunIds"):
            run = runs.get(run_id)
            code = "EntityNotFoundException" if run is None else _stop(run)  # type: ignore[arg-type]
            row = {"JobName": name, "JobRunId": run_id}
            if code:
                errors.append(row | {"ErrorDetail": {"ErrorCode": code, "ErrorMessage": f"{run_id} cannot be stopped"}})
            else:
                stopped.append(row)
        return ActionResult({"SuccessfulSubmissions": stopped, "Errors": errors})

    responses.GlueResponse.batch_stop_job_run = batch_stop_job_run  # type: ignore[attr-defined]


def _stop(run: JobRun) -> str | None:
    if run.final:
        return "JobRunInTerminalStateException"
    run.stop_asked.set()
    return None
