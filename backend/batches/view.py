"""What a person or a route may ask about a batch, in one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backend.batches.job_runs import RunStatus
from backend.batches.storage import Stored
from contract.batches import KEPT_RESULT_DAYS, KEPT_UPLOAD_DAYS, Run, SourceKeys, State
from contract.shards import Counts, Manifest

__all__ = ["BatchView", "Notice", "Prediction", "Problem", "Progress", "Tensors"]


@dataclass(frozen=True)
class Problem:
    """Why something failed: a stable code, and words."""

    code: str
    message: str


@dataclass(frozen=True)
class Progress:
    """How far a stage is, in entries; `seconds_left` None while there is nothing to tell it by."""

    stage: str
    detail: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class Prediction:
    """One variant's predictions of a batch."""

    folder: str
    state: str
    waiting: bool
    """Wished for, and taken up by nobody yet."""
    model: str
    precision: str
    done: int
    total: int
    problem: Problem | None
    counts: Counts | None
    parts: frozenset[int]
    parts_missing: bool = False
    """It was finished, and some of it has gone."""


@dataclass(frozen=True)
class Tensors:
    """Finished shards of one transform."""

    folder: str
    manifest: Manifest


@dataclass(frozen=True)
class Notice:
    """What the operator wants every visitor to read, and whether the data lives only as long as the application."""

    message: str = ""
    disposable: bool = False


@dataclass(frozen=True)
class BatchView:
    """Everything about a batch that a person or a route may ask. Times are UTC."""

    id: str
    file_name: str
    size_bytes: int
    state: State
    created: datetime
    upload: Stored | None
    request: Mapping[str, Any] | None
    etag: str | None
    source: SourceKeys | None
    claim: str | None
    """The claim's etag, by which whoever acts on this view learns that another was faster."""
    problem: Problem | None
    restartable: bool
    starting: bool
    """Someone has claimed to start a run, and has not noted it yet."""
    entries: int | None
    tensors: tuple[Tensors, ...]
    run: Run | None
    run_status: RunStatus | None
    progress: Progress | None
    predictions: tuple[Prediction, ...]

    @property
    def counts(self) -> Counts | None:
        """After preprocessing: of the whole zip."""
        if self.tensors:
            return self.tensors[0].manifest.counts
        return next((found.counts for found in self.predictions if found.counts), None)

    @property
    def upload_expires(self) -> datetime | None:
        """When zip and tensors go."""
        return self.upload.modified + timedelta(days=KEPT_UPLOAD_DAYS) if self.upload else None

    @property
    def results_expire(self) -> datetime | None:
        """When the first results go."""
        return self.created + timedelta(days=KEPT_RESULT_DAYS) if self.predictions else None
