"""Where a batch lies in S3, and its state, derived from the keys that are there. Standard library only.

    uploads/{batch}/{file}.zip                       the only prefix that triggers
    batches/{batch}/request.json                     what the person announced
    batches/{batch}/{etag}/claim.json run.json error.json
    batches/{batch}/{etag}/{tensors}/part-NNNNN.npy + .json, manifest.json (last)
    batches/{batch}/{etag}/{model}-{precision}/lease.json, part-NNNNN.jsonl, done.json (last)

Nothing is stored twice: a state is what its furthest evidence says. `etag` is the zip's own, so that other bytes under
the same name are another source and never meet the remains of the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "BATCHES", "CLAIM_SECONDS", "KEPT_RESULT_DAYS", "KEPT_UPLOAD_DAYS", "LEASE_SECONDS", "NOTICE_KEY", "RENEW_SECONDS",
    "TENSORS_TAG", "UPLOADS", "BadRecord", "BatchKeys", "Claim", "Evidence", "Lease", "ResultEvidence", "ResultKeys",
    "Run", "SourceKeys", "State", "TensorEvidence", "TensorKeys", "UploadKey", "dump", "is_batch_id", "job_arguments",
    "read_evidence", "safe_file_name", "state_of",
]  # fmt: skip

UPLOADS = "uploads/"
BATCHES = "batches/"
NOTICE_KEY = "notice.json"
"""What the operator wants every visitor to read: {"message", "disposable"}."""

CLAIM_SECONDS = 60
"""A claim without a run that is older may be taken over."""
LEASE_SECONDS = 60
"""A lease that was not renewed for so long may be taken over."""
RENEW_SECONDS = 10
KEPT_UPLOAD_DAYS = 7
KEPT_RESULT_DAYS = 30
TENSORS_TAG = "ninefold=tensors"
"""The object tag of shards and manifests, by which the bucket's lifecycle knows what to remove after seven days."""

_ID = re.compile(r"(?!-)(?!\.+$)[A-Za-z0-9._-]{1,64}")
_ETAG = re.compile(r"[A-Za-z0-9._-]{1,128}")
_UPLOAD = re.compile(r"uploads/([^/]+)/([^/]+\.(?i:zip))")
_PART = re.compile(r"part-(\d{5})\.(npy|json|jsonl)")


class State(StrEnum):
    """What has become of a batch, in the order in which it happens; the last two are other ends."""

    CREATED = "created"
    UPLOADED = "uploaded"
    PREPROCESSING = "preprocessing"
    READY = "ready"
    PREDICTING = "predicting"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True)
class UploadKey:
    """A key that triggers, taken apart."""

    batch: str
    file_name: str

    @classmethod
    def parse(cls, key: str) -> UploadKey | None:
        """None for a key that makes no batch: another prefix or suffix, a deeper folder, a name that is no id."""
        found = _UPLOAD.fullmatch(key)
        return cls(found[1], found[2]) if found and is_batch_id(found[1]) else None

    def __str__(self) -> str:
        return f"{UPLOADS}{self.batch}/{self.file_name}"


@dataclass(frozen=True)
class TensorKeys:
    """The shards of one source for one transform and dtype."""

    prefix: str

    def pixels(self, shard: int) -> str:
        """uint8[N,H,W,3] (or a float dtype) as .npy."""
        return f"{self.prefix}part-{shard:05d}.npy"

    def rows(self, shard: int) -> str:
        """One row an entry; written after the pixels, so that it marks a finished shard."""
        return f"{self.prefix}part-{shard:05d}.json"

    @property
    def manifest(self) -> str:
        """Written last, once: the first one wins."""
        return f"{self.prefix}manifest.json"


@dataclass(frozen=True)
class ResultKeys:
    """The predictions of one variant."""

    prefix: str

    @property
    def lease(self) -> str:
        """Who predicts, and since when."""
        return f"{self.prefix}lease.json"

    def part(self, shard: int) -> str:
        """The rows of one shard, one JSON object a line."""
        return f"{self.prefix}part-{shard:05d}.jsonl"

    @property
    def done(self) -> str:
        """Written last: the counts."""
        return f"{self.prefix}done.json"


@dataclass(frozen=True)
class SourceKeys:
    """All that becomes of one upload's bytes."""

    prefix: str

    @property
    def claim(self) -> str:
        """Put conditionally: whoever wrote it starts the run."""
        return f"{self.prefix}claim.json"

    @property
    def run(self) -> str:
        """The job run that was started last."""
        return f"{self.prefix}run.json"

    @property
    def error(self) -> str:
        """Why the zip is refused: {"code", "message"}."""
        return f"{self.prefix}error.json"

    def tensors(self, tensors_id: str) -> TensorKeys:
        """`tensors_id` is `contract.shards.tensors_id` of transform and dtype."""
        return TensorKeys(f"{self.prefix}{tensors_id}/")

    def results(self, model: str, precision: str) -> ResultKeys:
        """Of one variant."""
        return ResultKeys(f"{self.prefix}{model}-{precision}/")


@dataclass(frozen=True)
class BatchKeys:
    """All keys of one batch. Raises ValueError for what is no id."""

    batch: str

    def __post_init__(self) -> None:
        if not is_batch_id(self.batch):
            raise ValueError(f"{self.batch!r:.80} is no batch's id")

    @property
    def prefix(self) -> str:
        """Of everything but the upload."""
        return f"{BATCHES}{self.batch}/"

    @property
    def uploads(self) -> str:
        """Where the zip goes."""
        return f"{UPLOADS}{self.batch}/"

    def upload(self, file_name: str) -> str:
        """The key of a zip that the server takes in."""
        return f"{self.uploads}{safe_file_name(file_name)}"

    @property
    def request(self) -> str:
        """What was announced at creation; a drop-in has none."""
        return f"{self.prefix}request.json"

    def source(self, etag: str) -> SourceKeys:
        """`etag` as S3 says it, with or without its quotes. Raises ValueError for what cannot be part of a key."""
        bare = etag.strip('"')
        if not _ETAG.fullmatch(bare):
            raise ValueError(f"{etag!r:.80} is no etag")
        return SourceKeys(f"{self.prefix}{bare}/")


class BadRecord(Exception):
    """A claim, run or lease in S3 that is not what was written."""


@dataclass(frozen=True)
class Claim:
    """Who starts the job run. `released`: it could not be started, `why` says so, and anyone may claim at once."""

    owner: str
    released: bool = False
    why: str = ""

    def encode(self) -> bytes:
        """As JSON."""
        return dump(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Claim:
        """What `encode` wrote. Raises BadRecord."""
        with _bad_record("claim"):
            body = json.loads(data)
            return cls(str(body["owner"]), bool(body["released"]), str(body["why"]))


@dataclass(frozen=True)
class Run:
    """The job run that was started. `shards`: how many entries each planned shard has, for the progress."""

    job_name: str
    job_run_id: str
    shards: tuple[int, ...]

    def encode(self) -> bytes:
        """As JSON."""
        return dump(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Run:
        """What `encode` wrote. Raises BadRecord."""
        with _bad_record("run"):
            body = json.loads(data)
            return cls(str(body["job_name"]), str(body["job_run_id"]), tuple(int(count) for count in body["shards"]))


@dataclass(frozen=True)
class Lease:
    """Who predicts; the object's own time of change says when it was renewed.

    `released`: the owner stopped and anyone may go on at once; with an `error` (code, message) nobody should by itself.
    """

    owner: str
    released: bool = False
    error: tuple[str, str] | None = None

    def encode(self) -> bytes:
        """As JSON."""
        return dump(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Lease:
        """What `encode` wrote. Raises BadRecord."""
        with _bad_record("lease"):
            body = json.loads(data)
            error = body["error"]
            return cls(str(body["owner"]), bool(body["released"]), (str(error[0]), str(error[1])) if error else None)


@contextmanager
def _bad_record(what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise BadRecord(f"the {what} cannot be read: {error!r}") from error


@dataclass
class TensorEvidence:
    """What is there of one set of shards."""

    shards: set[int] = field(default_factory=set)
    manifest: bool = False


@dataclass
class ResultEvidence:
    """What is there of one variant's predictions."""

    lease: bool = False
    parts: set[int] = field(default_factory=set)
    done: bool = False


@dataclass
class Evidence:
    """What is there of one source. `tensors` by tensors_id, `results` by "model-precision"."""

    claim: bool = False
    run: bool = False
    error: bool = False
    tensors: dict[str, TensorEvidence] = field(default_factory=dict)
    results: dict[str, ResultEvidence] = field(default_factory=dict)


def is_batch_id(text: str) -> bool:
    """Whether it may stand in a key and in an address: 1 to 64 of A-Z a-z 0-9 . _ -, no dash first, not dots alone."""
    return _ID.fullmatch(text) is not None


def safe_file_name(name: str) -> str:
    """The name as the last part of a key: letters, digits, `._-`, ending in `.zip`, at most 100 characters."""
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("\\", "/").rsplit("/", 1)[-1])
    stem = base[:-4] if base.lower().endswith(".zip") else base
    return f"{stem.strip('.-')[:96] or 'photos'}.zip"


def read_evidence(batch: BatchKeys, keys: Iterable[str]) -> dict[str, Evidence]:
    """What the keys under a batch's prefix say, by etag. Keys that mean nothing are passed over."""
    found: dict[str, Evidence] = {}
    for key in keys:
        etag, *path = key.removeprefix(batch.prefix).split("/") if key.startswith(batch.prefix) else [""]
        evidence = found.get(etag) or Evidence()
        if (len(path) == 1 and _note_file(evidence, path[0])) or (len(path) == 2 and _note(evidence, path[0], path[1])):
            found[etag] = evidence
    return found


def _note_file(evidence: Evidence, name: str) -> bool:
    """Whether the key means something."""
    if name not in ("claim.json", "run.json", "error.json"):
        return False
    setattr(evidence, name.removesuffix(".json"), True)
    return True


def _note(evidence: Evidence, folder: str, name: str) -> bool:
    """Whether the key means something."""
    part = _PART.fullmatch(name)
    if name == "manifest.json":
        evidence.tensors.setdefault(folder, TensorEvidence()).manifest = True
    elif name == "lease.json":
        evidence.results.setdefault(folder, ResultEvidence()).lease = True
    elif name == "done.json":
        evidence.results.setdefault(folder, ResultEvidence()).done = True
    elif part and part[2] == "json":
        evidence.tensors.setdefault(folder, TensorEvidence()).shards.add(int(part[1]))
    elif part and part[2] == "jsonl":
        evidence.results.setdefault(folder, ResultEvidence()).parts.add(int(part[1]))
    else:
        return bool(part)
    return True


def state_of(evidence: Evidence | None, *, upload: bool, run_failed: bool = False) -> State:  # noqa: PLR0911  # one a line
    """The state by the furthest evidence.

    `upload`: whether the zip is there; `run_failed`: whether Glue says that the run ended, and there is no manifest.
    """
    if evidence is None:
        return State.UPLOADED if upload else State.CREATED
    if any(result.done for result in evidence.results.values()):
        return State.DONE
    has_tensors = any(tensors.manifest for tensors in evidence.tensors.values())
    if has_tensors and any(result.lease for result in evidence.results.values()):
        return State.PREDICTING
    if has_tensors:
        return State.READY
    if evidence.error or (run_failed and upload):
        return State.FAILED
    if not upload:
        return State.EXPIRED
    return State.PREPROCESSING if evidence.claim or evidence.run else State.UPLOADED


def job_arguments(upload: UploadKey, etag: str, transform: str | None, tensor_dtype: str = "uint8") -> dict[str, str]:
    """What a Glue run is started with; `transform` is the JSON of a TransformSpec, without it the job's default."""
    arguments = {
        "--batch": upload.batch,
        "--key": str(upload),
        "--etag": etag.strip('"'),
        "--tensor-dtype": tensor_dtype,
    }
    return arguments | ({"--transform": transform} if transform else {})


def dump(value: Mapping[str, Any]) -> bytes:
    """JSON as it is stored: the same value is always the same bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
