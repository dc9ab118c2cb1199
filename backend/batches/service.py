"""What the routes talk to: every verb on a batch. Blocking: to be called in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from contract.batches import BatchKeys, State
from contract.shards import tensors_id
from contract.transform import TransformSpec
from inference.artefacts import Artefact, Variant

__all__ = ["Batches"]

log = structlog.get_logger()


class Batches:
    """One a server. `artefact` and `worker_looks`, `worker_drops` are the predictor's and the worker's."""

    def __init__(
        self,
        storage: Storage,
        job_runs: JobRuns,
        views: Views,
        artefact: Callable[[Variant], Artefact],
        most_bytes: int,
        worker_looks: Callable[[str], None],
        worker_drops: Callable[[str], None],
    ) -> None:
        self.views = views
        self.most_bytes = most_bytes
        self._storage = storage
        self._job_runs = job_runs
        self._artefact = artefact
        self._uploads = Uploads(storage, most_bytes)
        self._results = Results(storage)
        self._worker_looks = worker_looks
        self._worker_drops = worker_drops

    def create(self, file_name: str, size_bytes: int) -> Upload:
        """Announces an upload. Raises BatchProblem."""
        return self._uploads.create(file_name, size_bytes)

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
        ask_for(self._storage, view.source.results(variant.model, variant.precision).lease)
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
        """Stops what is going on, then removes everything. Raises BatchProblem."""
        view = self.views.one(batch)
        self._worker_drops(batch)
        if view.run and (view.run_status is None or view.run_status.moving):
            try:
                self._job_runs.stop(view.run.job_name, view.run.job_run_id)
            except JobsAway as away:
                raise JobsAway(f"the run could not be stopped, so nothing was deleted. {away.message}") from away
        if view.state is State.CREATED:
            self._uploads.find(batch).abort()
        keys = BatchKeys(batch)
        # The upload first: without it no late event starts anything; leases before parts: then nobody writes any more.
        self._storage.delete([found.key for found in self._storage.objects(keys.uploads)])
        self._remove(keys.prefix, only="lease.json")
        self._remove(keys.prefix)
        self.views.forget(batch)
        log.info("deleted", batch=batch)

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
