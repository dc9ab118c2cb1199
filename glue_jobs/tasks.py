"""What one Spark task of the preprocessing is sent and does. Small things travel: a shard's own entries there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.batches import BatchKeys, SourceKeys, TensorKeys, UploadKey
from contract.shards import tensors_id
from contract.transform import TransformSpec
from contract.ziplist import Entry, ShardPlan, ranges
from glue_jobs.images import make_shard
from glue_jobs.reports import Report, TaskWatch
from glue_jobs.s3 import ReadAhead, worker_client
from glue_jobs.source import SourceLost, ZipSource
from glue_jobs.tensors import TensorStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Job:
    """What the run was asked for; the same for all of its tasks. `etag` without quotes."""

    bucket: str
    upload: UploadKey
    etag: str
    spec: TransformSpec
    dtype: str

    @property
    def source_keys(self) -> SourceKeys:
        """Of what becomes of the zip."""
        return BatchKeys(self.upload.batch).source(self.etag)

    @property
    def tensor_keys(self) -> TensorKeys:
        """Of the shards that this run makes."""
        return self.source_keys.tensors(tensors_id(self.spec, self.dtype))

    def source(self, s3: S3Client) -> ZipSource:
        """The zip."""
        return ZipSource(s3, self.bucket, str(self.upload), self.etag)

    def store(self, s3: S3Client) -> TensorStore:
        """Where the shards go."""
        return TensorStore(s3, self.bucket, self.tensor_keys)


@dataclass(frozen=True)
class Work:
    """One task: a shard and its own entries."""

    plan: ShardPlan
    entries: tuple[Entry, ...]


def perform(job: Job, work: Work) -> Report:
    """Makes one shard and puts it into S3. What a retry may mend is raised, so that Spark tries again.

    A zip that is gone is no such thing: that is answered, and ends the run at once.
    """
    watch, s3 = TaskWatch(), worker_client()
    wanted = [(span.start, span.end) for span in ranges(work.entries)]
    try:
        with ReadAhead(job.source(s3).read, wanted) as ahead, watch.stage("decode"):
            shard = make_shard(work.plan, work.entries, watch.reading(ahead), job.spec, job.dtype)
    except SourceLost as error:
        return watch.stopped(work.plan, str(error))
    with watch.stage("write"):
        job.store(s3).put(shard)
    return watch.report(work.plan, shard.rows.counts)
