"""The function as a test sees it: real S3, events as S3 sends them, and a Glue that only counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
from botocore.exceptions import ClientError
from start_preprocessing import Settings, Starter

from contract.batches import BatchKeys, SourceKeys
from tests import pictures, zips
from tests.localcloud.clouds import Cloud

EVENTS = Path(__file__).parents[1] / "events"
PHOTOS = zips.of({"a.jpg": pictures.jpeg((80, 60)), "b.jpg": pictures.jpeg((60, 80))})
LIMIT = ClientError(
    {
        "Error": {"Code": "ConcurrentRunsExceededException", "Message": "too many runs of arn:aws:glue:::job/ours"},
        "ResponseMetadata": {"HTTPStatusCode": 400},  # type: ignore[typeddict-item]
    },
    "StartJobRun",
)

_SESSION = boto3.session.Session()


class CountingGlue:
    """Starts nothing. The first starts raise `failures`, one each; `before` is called within every start.

    `lost` is raised by the first start instead of its answer. `refuses_to_list` is raised by every listing.
    """

    def __init__(
        self,
        *failures: Exception,
        before: Callable[[], object] = lambda: None,
        lost: Exception | None = None,
        refuses_to_list: Exception | None = None,
    ) -> None:
        self.started: list[tuple[str, Mapping[str, str]]] = []
        self.runs: list[dict[str, Any]] = []
        self._failures = list(failures)
        self._before = before
        self._lost = lost
        self._refuses_to_list = refuses_to_list

    def start_job_run(self, *, JobName: str, Arguments: Mapping[str, str]) -> dict[str, str]:  # noqa: N803
        self._before()
        if self._failures:
            raise self._failures.pop(0)
        self.started.append((JobName, Arguments))
        run = {"Id": f"jr_{len(self.started)}", "JobRunState": "STARTING", "Arguments": Arguments}
        self.runs.insert(0, run | {"StartedOn": datetime.now(UTC)})
        lost, self._lost = self._lost, None
        if lost:
            raise lost
        return {"JobRunId": run["Id"]}

    def get_job_runs(self, *, JobName: str) -> dict[str, list[dict[str, Any]]]:  # noqa: N803
        assert JobName == "the-job"
        if self._refuses_to_list:
            raise self._refuses_to_list
        return {"JobRuns": self.runs}


class Deliveries:
    """Uploads into one bucket, and the function called for them."""

    def __init__(self, storage: Cloud, bucket: str) -> None:
        self.s3 = storage.s3
        self.bucket = bucket
        self._url = storage.url

    def upload(self, key: str, body: bytes = PHOTOS) -> str:
        """The etag, without quotes."""
        return str(self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)["ETag"].strip('"'))

    def event(self, key: str, name: str = "put", **about: object) -> dict[str, Any]:
        """What S3 sends for the object as it is now; `about` says otherwise."""
        event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
        head = self.s3.head_object(Bucket=self.bucket, Key=key) if not about else {"ContentLength": 1, "ETag": ""}
        told = {"key": quote_plus(key, safe="/" if name != "moto" else ""), "size": head["ContentLength"]}
        event["Records"][0]["s3"]["bucket"]["name"] = self.bucket
        event["Records"][0]["s3"]["object"].update(told | {"eTag": head["ETag"].strip('"')} | about)
        return event

    def deliver(
        self,
        event: Mapping[str, Any],
        glue: CountingGlue,
        *,
        later: float = 0,
        meanwhile: Callable[[], object] = lambda: None,
        **environment: str,
    ) -> list[str]:
        """One call. `later`: for so many seconds what is there now has been there, by S3's clocks.

        `meanwhile` happens right after such an object was read.
        """
        return self._call(self._client_of(later, meanwhile), event, glue, environment)

    def at_once(self, event: Mapping[str, Any], glue: CountingGlue, times: int, later: float = 0) -> list[str]:
        """The outcomes of as many calls side by side; an exception is told by its name."""
        barrier, s3 = threading.Barrier(times), self._client_of(later)

        def call(_: int) -> str:
            barrier.wait(10)
            try:
                return self._call(s3, event, glue, {})[0]
            except Exception as error:  # noqa: BLE001
                return type(error).__name__

        with ThreadPoolExecutor(times) as pool:
            return sorted(pool.map(call, range(times)))

    def _call(self, s3: Any, event: Mapping[str, Any], glue: CountingGlue, environment: dict[str, str]) -> list[str]:
        settings = Settings.read({"GLUE_JOB": "the-job", **environment})
        return Starter(s3, glue, settings, "a-request").deliver(event)  # type: ignore[arg-type]

    def keys(self, batch: str, etag: str) -> SourceKeys:
        return BatchKeys(batch).source(etag)

    def json(self, key: str) -> dict[str, Any] | None:
        """An object; None where there is none."""
        try:
            found: dict[str, Any] = json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
            return found
        except self.s3.exceptions.NoSuchKey:
            return None

    def names(self) -> list[str]:
        """All keys under batches/."""
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="batches/")
        return [item["Key"] for item in listed.get("Contents", [])]

    def _client_of(self, later: float, meanwhile: Callable[[], object] = lambda: None) -> Any:
        """A client to which S3 says that what is there now is older than it is."""
        if not later:
            return self.s3
        where = {"endpoint_url": self._url, "region_name": "us-east-1"}
        s3 = _SESSION.client("s3", **where, aws_access_key_id="x", aws_secret_access_key="x")
        old = {self.s3.head_object(Bucket=self.bucket, Key=key)["ETag"] for key in self.names()}

        def age(parsed: dict[str, Any], **_: object) -> None:
            if parsed.get("ETag") in old:
                parsed["LastModified"] -= timedelta(seconds=later)
                meanwhile()

        s3.meta.events.register("after-call.s3.GetObject", age)
        return s3
