"""What can be wrong with a request about a batch. backend.api.errors renders it as it renders every error.

BatchProblem (status, code, message)
├── 404  unknown_batch · no_pixels
├── 409  wrong_state · needs_preprocessing · parts_missing
├── 413  zip_too_large
├── 422  not_a_zip · empty_file · invalid_parameter
└── 503  storage_away · storage_refuses · jobs_away · batches_off
"""

from __future__ import annotations


class BatchProblem(Exception):
    """A request about a batch that is refused: `message` says what to do."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class StorageAway(BatchProblem):
    """S3 does not answer, or not as it should: what was asked may work a little later."""

    def __init__(self, why: str) -> None:
        super().__init__(503, "storage_away", f"The storage does not answer ({why}). Try again in a few seconds.")


class StorageRefuses(BatchProblem):
    """S3 answers, and will not: asking again does not help."""

    def __init__(self, code: str) -> None:
        message = f"The storage refuses this ({code}): whoever runs the server has to look at the bucket's permissions."
        super().__init__(503, "storage_refuses", message)


class JobsAway(BatchProblem):
    """Glue does not answer, or refuses. `sent`: what was asked may have been done all the same."""

    def __init__(self, why: str, *, sent: bool = False) -> None:
        super().__init__(503, "jobs_away", f"The preprocessing service does not answer or refuses: {why}")
        self.why = why
        self.sent = sent


def unknown_batch(batch: str) -> BatchProblem:
    """There is no such batch, or not any more."""
    return BatchProblem(404, "unknown_batch", f"There is no batch {batch!r:.70}; it may have been deleted.")


def wrong_state(message: str) -> BatchProblem:
    """What was asked does not fit what the batch is just now."""
    return BatchProblem(409, "wrong_state", message)
