"""What one Spark task is sent, does and answers. Small things travel: a shard's own entries there, figures back."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from contract.batches import BatchKeys, SourceKeys, TensorKeys, UploadKey
from contract.shards import Counts, tensors_id
from contract.transform import TransformSpec
from contract.ziplist import Entry, ShardPlan
from glue_jobs.images import make_shard
from glue_jobs.source import SourceLost, ZipSource, s3_client
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


@dataclass(frozen=True)
class Report:
    """What became of one task. `worker`: host, the executor's Python and its worker; `stopped`: why nothing was made.

    Seconds are the task's own, `cpu_seconds` those of the processor; `peak_rss_mb` is its process's, so far.
    """

    plan: ShardPlan
    counts: Counts
    worker: str
    read_bytes: int
    read_seconds: float
    decode_seconds: float
    write_seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    stopped: str | None = None


class _TimedSource:
    """Counts what is read, and how long that takes."""

    def __init__(self, source: ZipSource) -> None:
        self._source = source
        self.bytes = 0
        self.seconds = 0.0

    def read(self, start: int, end: int) -> bytes:
        begun = time.perf_counter()
        data = self._source.read(start, end)
        self.seconds += time.perf_counter() - begun
        self.bytes += len(data)
        return data


def perform(job: Job, work: Work) -> Report:
    """Makes one shard and puts it into S3. What a retry may mend is raised, so that Spark tries again.

    A zip that is gone is no such thing: that is answered, and ends the run at once.
    """
    begun, cpu = time.perf_counter(), time.process_time()
    source = _TimedSource(job.source(_client()))
    try:
        shard = make_shard(work.plan, work.entries, source.read, job.spec, job.dtype)
    except SourceLost as error:
        return Report(work.plan, Counts(0, 0, 0), _worker(), source.bytes, 0, 0, 0, 0, peak_rss_mb(), str(error))
    made = time.perf_counter()
    job.store(_client()).put(shard)
    put = time.perf_counter()
    return Report(
        work.plan,
        shard.rows.counts,
        _worker(),
        source.bytes,
        source.seconds,
        made - begun - source.seconds,
        put - made,
        time.process_time() - cpu,
        peak_rss_mb(),
    )


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@cache
def _client() -> S3Client:
    """One for each Python worker: making one takes longer than a request."""
    return s3_client()


def _worker() -> str:
    return f"{socket.gethostname()}/{os.getppid()}/{os.getpid()}"
