"""Starts a job run from the server: again after one that failed, or for the pixels of another model."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress

from backend.batches.errors import BatchProblem, JobsAway, wrong_state
from backend.batches.job_runs import JobRuns
from backend.batches.storage import Conflict, Missing, Storage, Stored
from backend.batches.view import BatchView
from contract.batches import BadRecord, Claim, Run, SourceKeys, UploadKey, job_arguments
from contract.shards import tensors_id
from contract.transform import TransformSpec
from contract.ziplist import BadZip, ZipLimits, plan_shards, read_directory

__all__ = ["start_preprocessing"]


def start_preprocessing(storage: Storage, job_runs: JobRuns, view: BatchView, spec: TransformSpec) -> None:
    """Claims, starts, notes the run, as the Lambda does. Blocking. Raises BatchProblem where it makes no sense now."""
    stored, source = _check(view, spec, job_runs)
    claim = _claim(storage, source, view.claim)
    try:
        shards = _plan(storage, stored)
        arguments = job_arguments(
            UploadKey(view.id, stored.key.rsplit("/", 1)[-1]), stored.etag, json.dumps(spec.to_dict())
        )
        run = Run(job_runs.job_name, job_runs.start(arguments), shards)
    except (BadZip, BatchProblem, Conflict, Missing) as error:
        # A run that may have been started is not started again before the claim has aged.
        if not (isinstance(error, JobsAway) and error.sent):
            with suppress(BatchProblem, Conflict):
                storage.put(source.claim, Claim("server", released=True, why=str(error)).encode(), if_match=claim)
        raise _as_problem(error) from error
    storage.put(source.run, run.encode())


def _check(view: BatchView, spec: TransformSpec, job_runs: JobRuns) -> tuple[Stored, SourceKeys]:
    if view.upload is None or view.source is None:
        raise wrong_state("The zip is not there (any more): upload it again.")
    if any(tensors.folder == tensors_id(spec) for tensors in view.tensors):
        raise wrong_state("This batch is preprocessed already.")
    if view.problem and not view.restartable:
        raise wrong_state(f"This zip cannot be preprocessed: {view.problem.message}")
    if view.starting:
        raise wrong_state("A run is being started this very moment.")
    if view.run is not None:
        status = view.run_status or job_runs.status(view.run.job_name, view.run.job_run_id)
        if status.moving:
            raise wrong_state("A run is at it already. Wait for it, or delete the batch.")
    elif not view.restartable:
        raise wrong_state("The job is being started. Look again in a minute.")
    return view.upload, view.source


def _claim(storage: Storage, source: SourceKeys, seen: str | None) -> str:
    """Ours, over the claim that was seen: of two who act on the same view, one gets it."""
    claim = Claim(f"server-{uuid.uuid4().hex}").encode()
    try:
        return storage.put(source.claim, claim, if_match=seen, if_absent=seen is None)
    except Conflict as error:
        raise wrong_state("Someone else is starting it this very moment.") from error


def _plan(storage: Storage, upload: Stored) -> tuple[int, ...]:
    # Whether it is too large was decided when it came in, perhaps by another setting.
    limits = ZipLimits(max_bytes=max(upload.size, ZipLimits().max_bytes))
    entries = read_directory(
        lambda start, end: storage.get_range(upload.key, start, end, upload.etag), upload.size, limits
    )
    return tuple(shard.last - shard.first for shard in plan_shards(entries))


def _as_problem(error: Exception) -> BatchProblem:
    if isinstance(error, BatchProblem):
        return error
    if isinstance(error, BadZip):
        return wrong_state(f"This zip cannot be preprocessed: {error.message}")
    if isinstance(error, (Conflict, Missing, BadRecord)):
        return wrong_state("The zip was replaced or deleted meanwhile. Look again.")
    raise error
