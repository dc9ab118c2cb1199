"""Batches for tests: a stand-in for S3 that starts no runs, zips put into it, and their preprocessing without Spark."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from contract import ziplist
from contract.batches import BatchKeys, Run, UploadKey
from contract.shards import Manifest
from contract.transform import TransformSpec
from glue_jobs.images import make_shard
from glue_jobs.tasks import Job
from tests.localcloud.clouds import BUCKET, JOB, Cloud, cloud
from tests.servers import Service

DOES_NOTHING = "def handler(event, context): pass"


@contextmanager
def storage() -> Iterator[Cloud]:
    """S3 alone: an upload starts nothing."""
    with cloud(function=DOES_NOTHING) as started:
        yield started


def use(monkeypatch: pytest.MonkeyPatch, started: Cloud) -> dict[str, Any]:
    """The settings of a server that keeps its batches there."""
    for name, value in started.env.items():
        monkeypatch.setenv(name, value)
    return {"bucket": BUCKET, "s3_endpoint": started.url, "glue_job": JOB}


def drop_in(started: Cloud, batch: str, data: bytes, name: str = "photos.zip") -> str:
    """Puts a zip under uploads/, as any S3 client would; returns its etag."""
    answer = started.s3.put_object(Bucket=BUCKET, Key=f"uploads/{batch}/{name}", Body=data)
    return str(answer["ETag"]).strip('"')


def job_of(started: Cloud, batch: str, spec: TransformSpec = TransformSpec()) -> Job:
    """What a run for this upload would be asked for."""
    found = started.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"uploads/{batch}/")["Contents"][0]
    upload = UploadKey.parse(found["Key"])
    assert upload is not None
    return Job(BUCKET, upload, found["ETag"].strip('"'), spec, "uint8")


def preprocess(
    started: Cloud, batch: str, spec: TransformSpec = TransformSpec(), images_a_shard: int = ziplist.SHARD_IMAGES
) -> Manifest:
    """Makes the shards and the manifest by the job's own code, in this process."""
    job = job_of(started, batch, spec)
    source, store = job.source(started.s3), job.store(started.s3)
    size = source.size()
    entries = ziplist.read_directory(source.read, size)
    shards = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ziplist, "SHARD_IMAGES", images_a_shard)
        plans = ziplist.plan_shards(entries)
    for plan in plans:
        shard = make_shard(plan, entries[plan.first : plan.last], source.read, spec, "uint8")
        store.put(shard)
        shards.append((plan, shard.rows.counts))
    manifest = Manifest({"key": str(job.upload), "etag": job.etag, "size_bytes": size}, spec, "uint8", tuple(shards))
    store.put_manifest(manifest)
    return manifest


def note_run(started: Cloud, batch: str, run_id: str, shards: tuple[int, ...]) -> None:
    """What the Lambda writes once it has started a run."""
    keys = job_of(started, batch).source_keys
    started.s3.put_object(Bucket=BUCKET, Key=keys.run, Body=Run(JOB, run_id, shards).encode())


def keys_under(started: Cloud, prefix: str) -> dict[str, tuple[str, Any]]:
    """Every key with its etag and time."""
    pages = started.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    contents = (found for page in pages for found in page.get("Contents", []))
    return {found["Key"]: (found["ETag"], found["LastModified"]) for found in contents}


def everything_of(started: Cloud, batch: str) -> list[str]:
    """All keys that belong to a batch."""
    keys = BatchKeys(batch)
    return [*keys_under(started, keys.uploads), *keys_under(started, keys.prefix)]


def upload(service: Service, data: bytes, name: str = "photos.zip") -> str:
    """What the page's script does: announces, sends the parts, completes. Returns the batch's id."""
    created = service.client.post("/v1/batches", json={"filename": name, "size_bytes": len(data)})
    assert created.status_code == 201, created.text
    batch, plan = created.json()["id"], created.json()["upload"]
    send_parts(service, batch, data, plan["part_size"], range(1, plan["parts"] + 1))
    done = service.client.post(f"/v1/batches/{batch}/upload/complete")
    assert done.status_code == 200, done.text
    return str(batch)


def send_parts(service: Service, batch: str, data: bytes, part_size: int, numbers: Sequence[int]) -> None:
    """PUTs these parts to the addresses that the server signs."""
    urls = service.client.post(f"/v1/batches/{batch}/upload/urls", json={"parts": list(numbers)}).json()["urls"]
    for number in numbers:
        part = data[(number - 1) * part_size : number * part_size]
        httpx.put(urls[str(number)], content=part, trust_env=False).raise_for_status()


def state(service: Service, batch: str) -> dict[str, Any]:
    """GET /v1/batches/{id}."""
    answer = service.client.get(f"/v1/batches/{batch}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def wait_for(service: Service, batch: str, *states: str, seconds: float = 60) -> dict[str, Any]:
    """The batch, once it is in one of these states."""
    deadline = time.monotonic() + seconds
    while (found := state(service, batch))["state"] not in states:
        assert time.monotonic() < deadline, f"not {states} after {seconds} s: {found}"
        time.sleep(0.1)
    return found


def predict(service: Service, batch: str, **wanted: str) -> httpx.Response:
    """POST …/predict."""
    return service.client.post(f"/v1/batches/{batch}/predict", json=wanted)


def rows(service: Service, batch: str) -> list[dict[str, Any]]:
    """The results' rows."""
    answer = service.client.get(f"/v1/batches/{batch}/results")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


class Link:
    """A TCP relay between a server and S3 that can be cut and mended."""

    def __init__(self, target: str) -> None:
        self._host, self._port = target.removeprefix("http://").split(":")
        self._cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Everything that is open breaks off, and nothing new gets through."""
        self._cut = True
        self._since = time.monotonic()
        self._loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in self._writers])

    def mend_after(self, seconds: float) -> None:
        """Lets everything through again, so many seconds after the cut."""
        time.sleep(max(self._since + seconds - time.monotonic(), 0))
        self._cut = False

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._writers |= {writer, back}
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)
        finally:
            self._writers -= {writer, back}
            for each in (writer, back):
                each.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def within(seconds: float, true: Callable[[], bool], else_say: Callable[[], object] = lambda: "") -> None:
    """Fails with words when it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {else_say()}"
        time.sleep(0.05)
