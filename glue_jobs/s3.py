"""How the jobs speak with S3: patiently; bodies are read whole, ahead of the work; what must be first is put once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

# botocore waits up to 0.05, 0.1, 0.2 … 12.8 and then 20 s between attempts, at random (older versions: 1, 2, 4 …):
# thirteen waits last 53 s on average, and fewer than ten seconds 15 times in a million. Whoever is refused for ten
# seconds gets through. A client's quota allows about 35 repetitions in a row, so two requests may suffer at once.
ATTEMPTS = 14
AT_ONCE = 2
_BODY_ATTEMPTS = 5
_CONFLICTS, _CONFLICT_SECONDS = 20, 0.2


def s3_client(attempts: int = ATTEMPTS) -> S3Client:
    """A client that outlasts a fault of the network; endpoint, region and credentials are the environment's."""
    retries = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": attempts})
    return boto3.client("s3", config=retries)


@cache
def worker_client(number: int = 0) -> S3Client:  # noqa: ARG001  # by it the cache tells them apart
    """One for each Python worker: making one takes longer than a request. Each serves AT_ONCE requests at a time."""
    return s3_client()


def whole_body(ask: Callable[[], GetObjectOutputTypeDef]) -> bytes:
    """The body of what `ask` gets: botocore repeats requests, but not the reading of an answer that breaks off."""
    for _ in range(_BODY_ATTEMPTS - 1):
        answer = ask()
        try:
            return answer["Body"].read()
        except BotoCoreError:
            continue
    return ask()["Body"].read()


class ReadAhead:
    """`read`, called for exactly what is `wanted`, in that order: the next `most` come in while the caller works.

    Raises, at each call, what `read` raised. To be used as a context: its threads end with it.
    """

    def __init__(self, read: Callable[..., bytes], wanted: Iterable[tuple[object, ...]], most: int = 1) -> None:
        self._read = read
        self._wanted = iter(wanted)
        self._most = most
        self._pool = ThreadPoolExecutor(most)
        self._coming: deque[tuple[tuple[object, ...], Future[bytes]]] = deque()

    def __enter__(self) -> Self:
        self._fill()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, *wanted: object) -> bytes:
        """What `read` would return."""
        announced, future = self._coming.popleft()
        if announced != wanted:
            raise ValueError(f"{wanted} was asked for, {announced} is next")
        data = future.result()
        self._fill()
        return data

    def _fill(self) -> None:
        while len(self._coming) < self._most and (wanted := next(self._wanted, None)) is not None:
            self._coming.append((wanted, self._pool.submit(self._read, *wanted)))


def put_once(s3: S3Client, bucket: str, key: str, body: bytes, tags: str | None = None) -> bool:
    """False where something was there already: the first one wins."""
    for attempt in range(_CONFLICTS + 1):
        try:
            if tags is None:
                s3.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
            else:
                s3.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*", Tagging=tags)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 412:
                return False
            if status != 409 or attempt == _CONFLICTS:
                raise
            time.sleep(_CONFLICT_SECONDS)  # two puts met, and neither may have been the first: S3 asks to try again
        else:
            return True
    raise AssertionError("unreachable")
