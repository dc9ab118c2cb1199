"""Starts the Glue job for a zip that has arrived in S3, once, however often and however late its event comes.

    record ──> still that object? ──> begun before? ──> its directory ───> claim ──────> start ──> run.json
               no: passed over        yes: duplicate    BadZip: error.json held: raises  refused: released, raises

What goes wrong is let out, so that Lambda's own retries and the dead-letter queue do their work. The claim is a
conditional put. One that came to nothing may be taken over after CLAIM_SECONDS, which is also the longest that this
function may run: whoever wrote an older claim has ended. A start whose answer was lost may have begun a run: its claim
is not released, and whoever takes it over looks for that run. Imports the runtime's own, and two modules of contract.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from contract.batches import CLAIM_SECONDS, BadRecord, BatchKeys, Claim, Run, SourceKeys, UploadKey, dump, job_arguments
from contract.ziplist import BadZip, Entry, ZipLimits, plan_shards, read_directory

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

_S3_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
# A start that is sent again after a timeout would be a second run: the retry is Lambda's, which looks first.
_GLUE_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 1})
_LOST_STATUS = (404, 409, 412)
_MOVING = ("STARTING", "RUNNING", "WAITING")


class ClaimHeld(Exception):
    """Another delivery is about to start the run; this one must come back, in case that one fails."""


class _PassedOver(Exception):
    """A record that asks for nothing, and why."""


@dataclass(frozen=True)
class Settings:
    """What the function is deployed with: GLUE_JOB, and if wanted NINEFOLD_TRANSFORM and NINEFOLD_MAX_ZIP_MB."""

    glue_job: str
    transform: str | None
    limits: ZipLimits

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Raises KeyError without GLUE_JOB, ValueError for a size that is no number."""
        megabytes = environment.get("NINEFOLD_MAX_ZIP_MB")
        limits = ZipLimits(max_bytes=int(float(megabytes) * 1e6)) if megabytes else ZipLimits()
        return cls(environment["GLUE_JOB"], environment.get("NINEFOLD_TRANSFORM") or None, limits)


@dataclass(frozen=True)
class Arrival:
    """The zip that a record is about, as S3 has it now: `size` in bytes, `etag` bare, `modified` in whole seconds."""

    bucket: str
    upload: UploadKey
    etag: str
    size: int
    modified: datetime
    keys: SourceKeys


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """What Lambda calls. Returns {"outcomes": [one word a record]}; raises what kept a record from its end."""
    s3, glue = boto3.client("s3", config=_S3_CONFIG), boto3.client("glue", config=_GLUE_CONFIG)
    starter = Starter(s3, glue, Settings.read(os.environ), str(getattr(context, "aws_request_id", "")))
    return {"outcomes": starter.deliver(event)}


class Starter:
    """Does what one event asks for. `request` is the invocation's id, for the log."""

    def __init__(self, s3: S3Client, glue: GlueClient, settings: Settings, request: str = "") -> None:
        self._s3 = s3
        self._glue = glue
        self._settings = settings
        self._request = request

    def deliver(self, event: Mapping[str, Any]) -> list[str]:
        """started, adopted, duplicate, refused or passed_over, a record each. S3's own test event has none.

        All are tried; then the first failure is raised.
        """
        outcomes: list[str] = []
        failures: list[Exception] = []
        for record in event.get("Records", []):
            try:
                outcomes.append(self._deliver(record))
            except Exception as error:  # noqa: BLE001  # it is raised below, after the other records had their turn
                self._log("failed", **_about(record), error=repr(error))
                failures.append(error)
        if failures:
            raise failures[0]
        return outcomes

    def _deliver(self, record: Mapping[str, Any]) -> str:
        try:
            arrival = self._arrival(record)
            present = self._present(arrival)
            if self._is_over(arrival, present):
                return self._note("duplicate", arrival)
            if arrival.keys.claim in present:
                self._free_claim(arrival)  # raises while it is held, before the directory is read in vain
            entries = self._directory(arrival)
        except _PassedOver as reason:
            self._log("passed_over", key=_key(record), why=str(reason))
            return "passed_over"
        except BadZip as refusal:
            self._put(arrival, arrival.keys.error, dump({"code": refusal.code, "message": refusal.message}))
            return self._note("refused", arrival, code=refusal.code)
        claim = self._claim(arrival)
        if claim is None:
            return self._note("duplicate", arrival)
        return self._start(arrival, *claim, entries)

    # -- what the record is about ----------------------------------------------------------------------------------

    def _arrival(self, record: Mapping[str, Any]) -> Arrival:
        """Raises _PassedOver for what is no zip of ours, and for an event whose object is gone or another by now."""
        if not record["eventName"].removeprefix("s3:").startswith("ObjectCreated:"):
            raise _PassedOver(f"nothing was created: {record['eventName']}")
        bucket, about, key = record["s3"]["bucket"]["name"], record["s3"]["object"], _key(record)
        upload = UploadKey.parse(key)
        if upload is None:
            raise _PassedOver("the key is none of uploads/{batch}/{file}.zip")
        try:
            head = self._s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _status(error) == 404:
                raise _PassedOver("the object is gone") from error
            raise
        etag, size = head["ETag"].strip('"'), head["ContentLength"]
        if about.get("eTag", etag).strip('"') != etag:
            raise _PassedOver("the object was replaced; the new one has an event of its own")
        if about.get("size", 0) > self._settings.limits.max_bytes:
            size = max(size, about["size"])
        return Arrival(bucket, upload, etag, size, head["LastModified"], BatchKeys(upload.batch).source(etag))

    def _present(self, arrival: Arrival) -> dict[str, datetime]:
        """The keys of claim, run and error that are there, and since when."""
        answer = self._s3.list_objects_v2(Bucket=arrival.bucket, Prefix=arrival.keys.prefix, Delimiter="/")
        return {item["Key"]: item["LastModified"] for item in answer.get("Contents", [])}

    def _is_over(self, arrival: Arrival, present: Mapping[str, datetime]) -> bool:
        """Whether nothing is left to do: it was refused, its run began since it was put, or its pixels are there."""
        if arrival.keys.error in present:
            return True
        begun = present.get(arrival.keys.run)
        if begun is None or begun >= arrival.modified:
            return begun is not None
        # That run was for an earlier upload of these bytes. (What came in parts is as old as its first request.)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=arrival.bucket, Prefix=arrival.keys.prefix)
        return any(item["Key"].endswith("/manifest.json") for page in pages for item in page.get("Contents", []))

    def _directory(self, arrival: Arrival) -> list[Entry]:
        """Raises BadZip, and _PassedOver if the object is replaced or deleted meanwhile."""

        def read(start: int, end: int) -> bytes:
            span = f"bytes={start}-{end - 1}"
            answer = self._s3.get_object(
                Bucket=arrival.bucket, Key=str(arrival.upload), Range=span, IfMatch=f'"{arrival.etag}"'
            )
            return answer["Body"].read()

        try:
            return read_directory(read, arrival.size, self._settings.limits)
        except ClientError as error:
            if _status(error) in (404, 412):
                raise _PassedOver("the object was replaced or deleted while it was looked at") from error
            raise

    # -- the claim -------------------------------------------------------------------------------------------------

    def _claim(self, arrival: Arrival) -> tuple[str, bool] | None:
        """Our claim's etag, and whether it was another's; None if that one got further meanwhile. Raises ClaimHeld."""
        # The owner is new with every attempt: with the same bytes, a claim and its successor would have the same etag.
        mine = Claim(uuid.uuid4().hex).encode()
        etag = self._put(arrival, arrival.keys.claim, mine)
        if etag or self._is_over(arrival, self._present(arrival)):
            return (etag, False) if etag else None
        etag = self._put(arrival, arrival.keys.claim, mine, over=self._free_claim(arrival))
        if etag is None:
            raise ClaimHeld(f"another delivery took over the claim of {arrival.upload}")
        self._log("taken_over", key=str(arrival.upload))
        return None if self._is_over(arrival, self._present(arrival)) else (etag, True)

    def _free_claim(self, arrival: Arrival) -> str:
        """The etag of a claim that may be taken over, by S3's own clocks. Raises ClaimHeld."""
        try:
            answer = self._s3.get_object(Bucket=arrival.bucket, Key=arrival.keys.claim)
        except ClientError as error:
            if _status(error) == 404:
                raise ClaimHeld(f"the claim of {arrival.upload} was there and is gone") from error
            raise
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age = (now - answer["LastModified"]).total_seconds()
        if age < CLAIM_SECONDS and not _released(answer["Body"].read()):
            raise ClaimHeld(f"{arrival.upload} was claimed {age:.0f} s ago, and no run is known yet")
        return answer["ETag"]

    def _release(self, arrival: Arrival, claim: str, error: Exception) -> None:
        """Lets anyone claim at once; if even that fails, the claim's age will."""
        # Every visitor reads why, and AWS's own words name accounts and roles: those are in the log, by `deliver`.
        why = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        released = Claim(uuid.uuid4().hex, released=True, why=why)
        try:
            self._put(arrival, arrival.keys.claim, released.encode(), over=claim)
        except (BotoCoreError, ClientError) as second:
            self._log("not_released", key=str(arrival.upload), error=repr(second))

    # -- the run ---------------------------------------------------------------------------------------------------

    def _start(self, arrival: Arrival, claim: str, taken_over: bool, entries: list[Entry]) -> str:
        job = self._settings.glue_job
        arguments = job_arguments(arrival.upload, arrival.etag, self._settings.transform)
        try:
            begun = self._begun(arrival, arguments) if taken_over else None
            run = begun or self._glue.start_job_run(JobName=job, Arguments=arguments)["JobRunId"]
        except Exception as error:
            if not _may_have_begun(error):
                self._release(arrival, claim, error)
            raise
        shards = tuple(plan.last - plan.first for plan in plan_shards(entries))
        self._s3.put_object(Bucket=arrival.bucket, Key=arrival.keys.run, Body=Run(job, run, shards).encode())
        return self._note("adopted" if begun else "started", arrival, run=run, entries=len(entries))

    def _begun(self, arrival: Arrival, arguments: Mapping[str, str]) -> str | None:
        """The run of the claim's former owner, who did not hear of it or could not note it. Glue lists the newest."""
        try:
            runs = self._glue.get_job_runs(JobName=self._settings.glue_job)["JobRuns"]
        except ClientError as error:
            if not error.response["Error"]["Code"].startswith("AccessDenied"):
                raise
            self._log("not_looked_for_a_run", key=str(arrival.upload), error=repr(error))
            return None
        for run in runs:
            given, state = run.get("Arguments", {}), run["JobRunState"]
            # What an earlier upload's run made of the same bytes is not there any more.
            useful = state in _MOVING or (state == "SUCCEEDED" and run["StartedOn"] >= arrival.modified)
            if useful and all(given.get(name) == arguments[name] for name in ("--etag", "--key")):
                return run["Id"]
        return None

    def _put(self, arrival: Arrival, key: str, body: bytes, over: str | None = None) -> str | None:
        """Puts where nothing is, or over the object with the etag `over`; its etag, or None where another was first."""
        try:
            if over is None:
                return self._s3.put_object(Bucket=arrival.bucket, Key=key, Body=body, IfNoneMatch="*")["ETag"]
            return self._s3.put_object(Bucket=arrival.bucket, Key=key, Body=body, IfMatch=over)["ETag"]
        except ClientError as error:
            if _status(error) in _LOST_STATUS and error.response["Error"]["Code"] != "NoSuchBucket":
                return None
            raise

    # -- the log ---------------------------------------------------------------------------------------------------

    def _note(self, outcome: str, arrival: Arrival, **facts: str | int) -> str:
        self._log(outcome, key=str(arrival.upload), etag=arrival.etag, size_bytes=arrival.size, **facts)
        return outcome

    def _log(self, event: str, **facts: str | int) -> None:
        """One JSON object a line."""
        print(json.dumps({"event": event, "request": self._request, **facts}, ensure_ascii=False), flush=True)


def _key(record: Mapping[str, Any]) -> str:
    return unquote_plus(record["s3"]["object"]["key"])


def _about(record: Mapping[str, Any]) -> dict[str, str]:
    """The key, for the log, of a record that may lack anything."""
    try:
        return {"key": _key(record)}
    except (KeyError, TypeError):
        return {}


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _may_have_begun(error: Exception) -> bool:
    """Whether a run may exist although its start raised this: what was sent was not answered, or not to the point."""
    if isinstance(error, ClientError):
        return _status(error) >= 500
    return isinstance(error, HTTPClientError) or not isinstance(error, BotoCoreError)


def _released(claim: bytes) -> bool:
    try:
        return Claim.decode(claim).released
    except BadRecord:
        return False
