"""One look at one batch: its view, put together from the keys that are there and from what Glue says of its run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from backend.batches.errors import JobsAway
from backend.batches.job_runs import JobRuns, RunStatus
from backend.batches.storage import Missing, Storage, Stored
from backend.batches.view import BatchView, Prediction, Problem, Progress, Tensors
from contract.batches import (
    CLAIM_SECONDS,
    KEPT_UPLOAD_DAYS,
    BadRecord,
    BatchKeys,
    Claim,
    Evidence,
    Lease,
    ResultEvidence,
    ResultKeys,
    Run,
    SourceKeys,
    State,
    TensorEvidence,
    UploadKey,
    read_evidence,
    state_of,
)
from contract.shards import BadShard, Counts, Manifest

__all__ = ["Reader"]

log = structlog.get_logger()
_HOURS_FOR_ROOM = 6
"""After an upload: how long runs are started again for which Glue has no room. Then it is a failure."""


class Reader:
    """One look at one batch."""

    def __init__(
        self,
        storage: Storage,
        job_runs: JobRuns,
        keys: BatchKeys,
        body: Callable[[str, str], bytes],
        manifest: Callable[[str, str], Manifest],
    ) -> None:
        self._storage = storage
        self._job_runs = job_runs
        self._keys = keys
        self._body_of = body
        self._manifest_of = manifest
        self._now = datetime.now(UTC)

    def view(self) -> BatchView | None:
        """None where there is no such batch."""
        objects = self._storage.objects(self._keys.prefix)
        uploads = [found for found in self._storage.objects(self._keys.uploads) if UploadKey.parse(found.key)]
        if not objects and not uploads:
            return None
        try:
            view = self._assemble(objects, uploads)
            if view.state is State.FAILED and view.run_status and view.run_status.state == "SUCCEEDED":
                # The manifest may have come between the listing and Glue's answer.
                view = self._assemble(self._storage.objects(self._keys.prefix), uploads)
            return view
        except (BadShard, Missing, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("a batch cannot be read", batch=self._keys.batch, error=repr(error))
            return self._unreadable(uploads)

    def _assemble(self, objects: Sequence[Stored], uploads: Sequence[Stored]) -> BatchView:
        self._objects = {found.key: found for found in objects}
        upload = max(uploads, key=lambda found: found.modified, default=None)
        request = self._request()
        found = read_evidence(self._keys, self._objects)
        etag = upload.etag if upload else self._latest(found)
        evidence = found.get(etag) if etag else None
        source = self._keys.source(etag) if etag else None
        base = self._base(upload, request, etag, source)
        if evidence is None or source is None:
            return self._without_evidence(base)
        return self._with_evidence(base, source, evidence)

    def _base(
        self,
        upload: Stored | None,
        request: Mapping[str, Any] | None,
        etag: str | None,
        source: SourceKeys | None,
    ) -> BatchView:
        name = (request or {}).get("filename")
        dropped = UploadKey.parse(upload.key) if upload else None
        times = [found.modified for found in self._objects.values()] + ([upload.modified] if upload else [])
        return BatchView(
            id=self._keys.batch,
            file_name=str(name or (dropped.file_name if dropped else f"{self._keys.batch}.zip")),
            size_bytes=upload.size if upload else int((request or {}).get("size_bytes", 0)),
            state=State.CREATED,
            created=_read_time((request or {}).get("created")) or min(times),
            upload=upload,
            request=request,
            etag=etag,
            source=source,
            claim=self._objects[source.claim].etag if source and source.claim in self._objects else None,
            problem=None,
            restartable=False,
            starting=source is not None and self._is_starting(source),
            entries=None,
            tensors=(),
            run=None,
            run_status=None,
            progress=None,
            predictions=(),
        )

    def _unreadable(self, uploads: Sequence[Stored]) -> BatchView:
        """What is left to say of records that are damaged, of another version, or just being deleted."""
        upload = max(uploads, key=lambda found: found.modified, default=None)
        message = "What the storage holds of this batch cannot be read. Delete it, and upload the zip again."
        problem = Problem("damaged_records", message)
        return replace(self._base(upload, None, None, None), state=State.FAILED, problem=problem)

    def _without_evidence(self, base: BatchView) -> BatchView:
        if base.upload:
            late = (self._now - base.upload.modified).total_seconds() > CLAIM_SECONDS
            return replace(base, state=State.UPLOADED, restartable=late)
        old = self._now - base.created > timedelta(days=KEPT_UPLOAD_DAYS)
        return replace(base, state=State.EXPIRED if old else State.CREATED)

    def _with_evidence(self, base: BatchView, source: SourceKeys, evidence: Evidence) -> BatchView:
        tensors = tuple(
            Tensors(folder, self._manifest(source.tensors(folder).manifest))
            for folder, found in evidence.tensors.items()
            if found.manifest
        )
        entries = tensors[0].manifest.counts.entries if tensors else None
        predictions = tuple(
            self._prediction(source, folder, found, entries or 0)
            for folder, found in evidence.results.items()
            if found.lease or found.done
        )
        run = self._run(source) if evidence.run else None
        status = self._run_status(run) if run and self._is_open(source, evidence) else None
        failed = status is not None and not (status.moving or self._waits_on(base, status) or base.starting)
        state = state_of(evidence, upload=base.upload is not None, run_failed=failed)
        if state in (State.DONE, State.PREDICTING):
            state = _by_predictions({found.state for found in predictions}, bool(tensors))
        view = replace(
            base, state=state, tensors=tensors, run=run, run_status=status, predictions=predictions, entries=entries
        )
        return self._described(view, source, evidence)

    def _waits_on(self, base: BatchView, status: RunStatus) -> bool:
        """Whether another run is started without asking, since Glue had no room for the last one: for some hours."""
        patience = timedelta(hours=_HOURS_FOR_ROOM)
        return status.never_began and base.upload is not None and self._now - base.upload.modified < patience

    def _described(self, view: BatchView, source: SourceKeys, evidence: Evidence) -> BatchView:  # noqa: PLR0911
        """With its problem, its progress and whether it can be started again."""
        match view.state:
            case State.FAILED if evidence.error:
                return replace(view, problem=self._problem(source.error))
            case State.FAILED:
                status = view.run_status
                words = (status.message if status else "") or "It ended without a result and without a reason."
                stopped = status is not None and status.state == "STOPPED"
                message = "The preprocessing was stopped." if stopped else f"The preprocessing failed: {words}"
                return replace(view, problem=Problem("preprocessing_failed", message), restartable=True)
            case State.PREPROCESSING if view.run is None or view.starting:
                detail, restartable = self._claim(source)
                progress = Progress("preprocessing", detail, 0, 0, None)
                return replace(view, progress=progress, restartable=restartable)
            case State.PREPROCESSING if view.run_status and view.run_status.never_began:
                detail = "The job waited for its turn in vain, and will be started again."
                return replace(view, progress=Progress("preprocessing", detail, 0, 0, None), restartable=True)
            case State.PREPROCESSING:
                return self._preprocessing(view, source, evidence)
            case _ if any(found.state == "predicting" for found in view.predictions):
                return replace(view, progress=self._predicting(view, source))
            case _ if view.tensors and view.run_status and view.run_status.moving:
                return self._preprocessing(view, source, evidence)
        return view

    # -- preprocessing -------------------------------------------------------------------------------------------

    def _preprocessing(self, view: BatchView, source: SourceKeys, evidence: Evidence) -> BatchView:
        assert view.run is not None  # noqa: S101  # the caller looked
        sizes, state = view.run.shards, view.run_status.state if view.run_status else ""
        unfinished = [(folder, found) for folder, found in evidence.tensors.items() if not found.manifest]
        folder, found = max(unfinished, key=lambda item: len(item[1].shards), default=("", None))
        shards = (found or TensorEvidence()).shards
        keys = source.tensors(folder)
        times = {number: self._objects[keys.rows(number)].modified for number in shards}
        detail = {"STARTING": "The job is starting.", "WAITING": "The job waits for its turn."}.get(state, "")
        done, total = sum(sizes[number] for number in shards if number < len(sizes)), sum(sizes)
        left = self._seconds_left({n: sizes[n] for n in shards if n < len(sizes)}, times, total - done)
        return replace(view, progress=Progress("preprocessing", detail, done, total, left), entries=total or None)

    def _claim(self, source: SourceKeys) -> tuple[str, bool]:
        """(detail, whether a person may start it) of a claim without a run."""
        age = (self._now - self._objects[source.claim].modified).total_seconds()
        claim = self._claim_of(source)
        if claim.released:
            return f"The job could not be started yet and will be tried again: {claim.why}", True
        return "The job is being started.", age > CLAIM_SECONDS

    def _claim_of(self, source: SourceKeys) -> Claim:
        try:
            return Claim.decode(self._body(source.claim))
        except BadRecord:
            return Claim("?")

    def _is_open(self, source: SourceKeys, evidence: Evidence) -> bool:
        """Whether the run that is noted may still bring something: it is younger than every manifest."""
        started = self._objects[source.run].modified
        manifests = [source.tensors(folder).manifest for folder, found in evidence.tensors.items() if found.manifest]
        return not evidence.error and all(self._objects[key].modified < started for key in manifests)

    def _is_starting(self, source: SourceKeys) -> bool:
        """Whether someone has claimed to start another run, and has not noted it yet."""
        claim, run = self._objects.get(source.claim), self._objects.get(source.run)
        if not claim or not run or claim.modified <= run.modified:
            return False
        fresh = (self._now - claim.modified).total_seconds() < CLAIM_SECONDS
        return fresh and not self._claim_of(source).released

    def _run(self, source: SourceKeys) -> Run | None:
        try:
            return Run.decode(self._body(source.run))
        except BadRecord:
            return None

    def _run_status(self, run: Run) -> RunStatus | None:
        try:
            return self._job_runs.status(run.job_name, run.job_run_id)
        except JobsAway as error:
            # Not knowing is no failure: it stays what it was.
            return RunStatus(run.job_run_id, "WAITING", error.message)

    # -- predictions ---------------------------------------------------------------------------------------------

    def _prediction(self, source: SourceKeys, folder: str, found: ResultEvidence, entries: int) -> Prediction:
        keys = ResultKeys(f"{source.prefix}{folder}/")
        model, _, precision = folder.rpartition("-")
        parts = frozenset(found.parts)
        if found.done:
            body = json.loads(self._body(keys.done))
            counts = Counts(**{name: body["counts"][name] for name in ("images", "errors", "skipped")})
            total = counts.entries
            if parts != frozenset(range(body["shards"])):
                words = "Parts of these results have expired or were deleted. Predict the batch again."
                gone = Problem("results_incomplete", words)
                return Prediction(folder, "failed", False, model, precision, 0, total, gone, None, parts, True)
            return Prediction(folder, "done", False, model, precision, total, total, None, counts, parts)
        try:
            lease = Lease.decode(self._body(keys.lease))
        except (BadRecord, Missing):
            lease = Lease("?")
        state, problem = ("failed", Problem(*lease.error)) if lease.error else ("predicting", None)
        done = self._entries_of(source, parts)
        return Prediction(folder, state, lease.released, model, precision, done, entries, problem, None, parts)

    def _entries_of(self, source: SourceKeys, parts: frozenset[int]) -> int:
        manifests = [key for key in self._objects if key.startswith(source.prefix) and key.endswith("/manifest.json")]
        shards = self._manifest(manifests[0]).shards if manifests else ()
        return sum(plan.last - plan.first for plan, _ in shards if plan.number in parts)

    def _predicting(self, view: BatchView, source: SourceKeys) -> Progress:
        found = next((one for one in view.predictions if one.state == "predicting"), view.predictions[0])
        keys = ResultKeys(f"{source.prefix}{found.folder}/")
        times = {number: self._objects[keys.part(number)].modified for number in found.parts}
        plans = {plan.number: plan for plan, _ in view.tensors[0].manifest.shards}
        sizes = {number: plans[number].last - plans[number].first for number in found.parts if number in plans}
        detail = "Waiting for its turn." if found.waiting else ""
        left = self._seconds_left(sizes, times, found.total - found.done)
        return Progress("predicting", detail, found.done, found.total, left)

    # -- small things --------------------------------------------------------------------------------------------

    def _seconds_left(self, sizes: Mapping[int, int], times: Mapping[int, datetime], remaining: int) -> float | None:
        """By the pace since the first part: what came after it, over the time since."""
        if len(sizes) < 2:
            return None
        first = min(sizes, key=lambda number: times[number])
        elapsed = (max(times[number] for number in sizes) - times[first]).total_seconds()
        came = sum(sizes.values()) - sizes[first]
        return round(remaining * elapsed / came, 1) if elapsed >= 1 and came else None

    def _latest(self, found: Mapping[str, Evidence]) -> str | None:
        def newest(etag: str) -> datetime:
            prefix = f"{self._keys.prefix}{etag}/"
            return max(stored.modified for key, stored in self._objects.items() if key.startswith(prefix))

        return max((etag for etag in found if etag != "request.json"), key=newest, default=None)

    def _body(self, key: str) -> bytes:
        return self._body_of(key, self._objects[key].etag)

    def _manifest(self, key: str) -> Manifest:
        return self._manifest_of(key, self._objects[key].etag)

    def _request(self) -> Mapping[str, Any] | None:
        """What was announced; None where nothing was, or where it cannot be read."""
        found = self._json(self._keys.request)
        size = (found or {}).get("size_bytes")
        return found if isinstance(size, int) and _read_time((found or {}).get("created")) else None

    def _json(self, key: str) -> Mapping[str, Any] | None:
        if key not in self._objects:
            return None
        try:
            body = json.loads(self._body(key))
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _problem(self, key: str) -> Problem:
        body = self._json(key) or {}
        return Problem(
            str(body.get("code", "refused")),
            str(body.get("message", "The zip was refused, and the reason cannot be read.")),
        )


def _by_predictions(states: set[str], ready: bool) -> State:
    """Of a batch that was asked for; where all failed, it can be asked for again while its pixels are there."""
    if "done" in states:
        return State.DONE
    if "predicting" in states:
        return State.PREDICTING
    return State.READY if ready else State.EXPIRED


def _read_time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return None
