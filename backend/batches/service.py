"""What the routes talk to: every verb on a batch. Blocking: to be called in threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import structlog

from backend.batches.errors import BatchProblem, JobsAway, wrong_state
from backend.batches.job_runs import JobRuns
from backend.batches.lease import ask_for
from backend.batches.preprocessing import start_preprocessing
from backend.batches.results import Results, finished
from backend.batches.storage import Storage
from backend.batches.uploads import Upload, Uploads
from backend.batches.view import BatchView
from backend.batches.views import Views
from contract.batches import BatchKeys, Run, State
from contract.shards import tensors_id
from contract.transform import TransformSpec
from inference.artefacts import Artefact, Variant

__all__ = ["Batches"]

log = structlog.get_logger()
_LAST_WRITES_SECONDS = 3.0


class Batches:
    """One a server. `artefact` is the predictor's, `worker_looks` and `worker_dropped` the worker's."""

    def __init__(
        self,
        storage: Storage,
        job_runs: JobRuns,
        views: Views,
        artefact: Callable[[Variant], Artefact],
        most_bytes: int,
        worker_looks: Callable[[str], None],
        worker_dropped: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self.views = views
        self.most_bytes = most_bytes
        self._storage = storage
        self._job_runs = job_runs
        self._artefact = artefact
        self._uploads = Uploads(storage, most_bytes)
        self._results = Results(storage)
        self._worker_looks = worker_looks
        self._worker_dropped = worker_dropped

    def create(self, file_name: str, size_bytes: int, batch: str | None = None) -> Upload:
        """Announces an upload, under a fresh id unless it is given one. Raises BatchProblem."""
        return self._uploads.create(file_name, size_bytes, batch)

    def upload(self, batch: str) -> Upload:
        """The announced upload, complete or not. Raises BatchProblem."""
        return self._uploads.find(batch)

    def complete(self, batch: str) -> BatchView:
        """Puts the parts together; asked twice, the second time changes nothing. Raises BatchProblem."""
        upload = self._uploads.find(batch)
        if self.views.one(batch).upload is None:
            upload.complete(self.most_bytes)
            log.info("uploaded", batch=batch, bytes=upload.size_bytes)
        return self.views.one(batch)

    def preprocess(self, batch: str, variant: Variant) -> BatchView:
        """Starts a job run for the variant's pixels. Raises BatchProblem."""
        start_preprocessing(self._storage, self._job_runs, self.views.one(batch), self._spec(variant))
        log.info("preprocessing started", batch=batch)
        return self.views.one(batch)

    def predict(self, batch: str, variant: Variant) -> BatchView:
        """Wishes for a prediction, which the worker takes up. Of a variant that is done or at it: nothing changes."""
        view = self.views.one(batch)
        known = {(found.model, found.precision): found for found in view.predictions}
        found = known.get((variant.model, variant.precision))
        if found and found.state == "done":
            return view
        if view.source is None or not view.tensors:
            raise _not_ready(view)
        wanted = tensors_id(self._spec(variant))
        if all(tensors.folder != wanted for tensors in view.tensors):
            raise BatchProblem(
                409,
                "needs_preprocessing",
                f"{variant.model} sees other pixels than those that were prepared. Preprocess the batch for it first.",
            )
        keys = view.source.results(variant.model, variant.precision)
        if found and found.parts_missing:
            self._storage.delete([keys.done])
        ask_for(self._storage, keys.lease, anew=found is not None and found.parts_missing)
        self._worker_looks(batch)
        return self.views.one(batch)

    def results(self, batch: str, model: str | None, precision: str | None, format: str) -> Iterator[bytes]:
        """The rows as a file, streamed. Raises BatchProblem before the first piece."""
        view = self.views.one(batch)
        return self._results.stream(view, finished(view, model, precision), format)

    def picture(self, batch: str, entry: int) -> bytes:
        """What the network saw, as a JPEG. Raises BatchProblem."""
        return self._results.picture(self.views.seen(batch), entry)

    def delete(self, batch: str) -> None:
        """Stops what is going on, then removes everything. Raises BatchProblem, and then nothing was removed."""
        view = self.views.one(batch)
        with self._worker_dropped(batch):
            if view.run and (view.run_status is None or view.run_status.moving):
                self._stop_run(view.run)
            if view.state is State.CREATED:
                self._abort_upload(batch)
            self._remove_all(batch)
            if any(found.state == "predicting" and not found.waiting for found in view.predictions):
                # Another server may be about to write the part that it has just confirmed its lease for.
                time.sleep(_LAST_WRITES_SECONDS)
                self._remove_all(batch)
        self.views.forget(batch)
        log.info("deleted", batch=batch)

    def _abort_upload(self, batch: str) -> None:
        """Of one whose announcement cannot be read the parts stay until the bucket's lifecycle ends them."""
        try:
            self._uploads.find(batch).abort()
        except BatchProblem as problem:
            if problem.code != "unknown_batch":
                raise

    def _stop_run(self, run: Run) -> None:
        try:
            self._job_runs.stop(run.job_name, run.job_run_id)
        except JobsAway as away:
            message = f"The run of this batch could not be stopped, so nothing was deleted: {away.why}"
            raise BatchProblem(away.status, away.code, message) from away

    def _remove_all(self, batch: str) -> None:
        """The upload first: without it no late event starts anything. Leases next: without them nobody writes."""
        keys = BatchKeys(batch)
        self._remove(keys.uploads)
        self._remove(keys.prefix, only="lease.json")
        self._remove(keys.prefix)

    def _remove(self, prefix: str, only: str = "") -> None:
        self._storage.delete([found.key for found in self._storage.objects(prefix) if found.key.endswith(only)])

    def _spec(self, variant: Variant) -> TransformSpec:
        return self._artefact(variant).card.transform


def _not_ready(view: BatchView) -> BatchProblem:
    """Why a batch cannot be predicted, and what will change that."""
    words = {
        State.CREATED: "The zip has not been uploaded completely.",
        State.UPLOADED: "The zip waits for its preprocessing.",
        State.PREPROCESSING: "The zip is being preprocessed. Wait until it is ready.",
        State.EXPIRED: "The zip and its pixels have expired: upload it again.",
    }
    failed = f"The batch failed: {view.problem.message}" if view.problem else "The batch has no pixels to predict from."
    return wrong_state(words.get(view.state, failed))
