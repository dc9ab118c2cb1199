"""Lambda's part: the deployed zip in a process of its own, tried again for events as Lambda tries again."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import sys
import threading
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.awslambda.models import LambdaFunction

from localcloud.aws import Aws
from localcloud.processes import Child, how_it_ended

_HERE = Path(__file__).parent
_RUNTIME = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
_AT_ONCE = 4


@dataclass(frozen=True)
class Outcome:
    """How one call went: `payload` is JSON, what the handler returned or how it failed."""

    payload: bytes
    failed: bool
    log: bytes


@dataclass(frozen=True)
class _Event:
    function: LambdaFunction
    body: Any
    request_id: str
    attempt: int = 1


class Functions:
    """Runs functions, which find this server as `aws` says."""

    def __init__(self, aws: Aws, folder: Path, retry_seconds: tuple[float, ...]) -> None:
        self._aws = aws
        self._folder = folder
        self._retry_seconds = retry_seconds
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lambda")
        self._unpacking = threading.Lock()
        self._runtime = _link_runtime(folder / "lambda-runtime")

    def call(self, function: LambdaFunction, event: Any, request_id: str = "") -> Outcome:
        """Runs the function once and waits for it. Whatever keeps it from running is a failure as well."""
        try:
            with TemporaryDirectory(dir=self._folder, prefix="call-", ignore_cleanup_errors=True) as scratch:
                outcome = self._run(function, event, request_id or str(uuid.uuid4()), Path(scratch))
            _tell(function, outcome)
        except Exception as error:  # noqa: BLE001  # no disk, no process: nobody else would hear of it
            outcome = _failure("Sandbox.Failed", f"it could not be run: {type(error).__name__}: {error}", b"")
            _tell(function, outcome)
        return outcome

    def call_later(self, function: LambdaFunction, event: Any) -> None:
        """Takes the event and returns. After a failure it is tried again; in the end it is a dead letter."""
        self._submit(_Event(function, event, str(uuid.uuid4())))

    def close(self) -> None:
        """Ends what runs; events that wait are lost, as is everything here."""
        self._stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, event: _Event) -> None:
        if not self._stopping.is_set():
            self._pool.submit(self._attempt, event)

    def _attempt(self, event: _Event) -> None:
        outcome = self.call(event.function, event.body, event.request_id)
        if not outcome.failed or self._stopping.is_set():
            return
        if event.attempt <= len(self._retry_seconds):
            again = _Event(event.function, event.body, event.request_id, event.attempt + 1)
            timer = threading.Timer(self._retry_seconds[event.attempt - 1], self._submit, [again])
            timer.daemon = True
            timer.start()
        else:
            self._give_up(event, outcome)

    def _give_up(self, event: _Event, outcome: Outcome) -> None:
        name = event.function.function_name
        target = (getattr(event.function, "dead_letter_config", None) or {}).get("TargetArn", "")
        if ":sqs:" not in target:
            _say(f"{name} failed {event.attempt} times; the event is lost: {json.dumps(event.body)}")
            return
        facts = {"RequestID": event.request_id, "ErrorMessage": outcome.payload.decode()[:1000] or "-"}
        try:
            sqs = self._aws.client("sqs")
            sqs.send_message(
                QueueUrl=sqs.get_queue_url(QueueName=target.rpartition(":")[2])["QueueUrl"],
                MessageBody=json.dumps(event.body),
                MessageAttributes={key: {"DataType": "String", "StringValue": text} for key, text in facts.items()},
            )
            _say(f"{name} failed {event.attempt} times; the event is in {target.rpartition(':')[2]}.")
        except (BotoCoreError, ClientError) as error:
            _say(f"{name} failed {event.attempt} times, and its dead-letter queue: {error}")

    def _run(self, function: LambdaFunction, event: Any, request_id: str, scratch: Path) -> Outcome:
        code = self._unpacked(function)
        call, result, report, log = (scratch / name for name in ("call.json", "result.json", "report.json", "log"))
        seconds = float(function.timeout)
        context = _context(function, request_id)
        facts = {"handler": function.handler, "event": event, "context": context, "deadline": time.time() + seconds}
        call.write_text(json.dumps({**facts, "path": [str(code), str(self._runtime)]}), encoding="utf-8")
        # -I and -S: nothing of this machine's Python but its standard library, so what the zip lacks is missed here.
        leash = [sys.executable, "-I", "-S", "-u", str(_HERE / "leash.py"), str(report)]
        command = [*leash, str(_HERE / "function_call.py"), str(call), str(result)]
        with log.open("wb") as output:
            child = Child(command, code, self._environment(function, code), output)
            ended = child.wait(seconds, self._stopping)
            exit_code = child.end(grace=0 if ended is None else 1)
        said = log.read_bytes()
        if ended is None:
            return _failure("Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds", said)
        if result.exists():
            return Outcome(result.read_bytes(), failed=False, log=said)
        if report.exists():
            return Outcome(report.read_bytes(), failed=True, log=said)
        return _failure("Runtime.ExitError", f"Runtime exited {how_it_ended(exit_code)}", said)

    def _environment(self, function: LambdaFunction, code: Path) -> dict[str, str]:
        own = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "en_US.UTF-8",
            "TZ": "UTC",
            "LAMBDA_TASK_ROOT": str(code),
            "AWS_REGION": function.region,
            "AWS_LAMBDA_FUNCTION_NAME": str(function.function_name),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "_HANDLER": str(function.handler),
        }
        return {**own, **self._aws.environment, **function.environment_vars}

    def _unpacked(self, function: LambdaFunction) -> Path:
        """The folder of the function's code: unpacked once for each version of it, whole or not there."""
        folder = self._folder / f"code-{hashlib.sha256(function.code_bytes).hexdigest()}"
        with self._unpacking:
            if not folder.exists():
                with TemporaryDirectory(dir=self._folder, prefix="unpack-") as scratch:
                    zipfile.ZipFile(io.BytesIO(function.code_bytes)).extractall(Path(scratch) / "code")
                    (Path(scratch) / "code").rename(folder)
        return folder


def _link_runtime(folder: Path) -> Path:
    """A folder with what AWS's own Python runtime brings, and with nothing else that is installed here."""
    folder.mkdir()
    for name in _RUNTIME:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(name)
        origin = Path(spec.origin)
        source = origin.parent if spec.submodule_search_locations else origin
        (folder / source.name).symlink_to(source)
    return folder


def _context(function: LambdaFunction, request_id: str) -> dict[str, Any]:
    return {
        "aws_request_id": request_id,
        "function_name": function.function_name,
        "function_version": str(function.version),
        "invoked_function_arn": function.function_arn,
        "memory_limit_in_mb": function.memory_size,
        "log_group_name": function.logs_group_name,
        "log_stream_name": f"localcloud/{request_id}",
    }


def _failure(kind: str, message: str, log: bytes) -> Outcome:
    return Outcome(json.dumps({"errorType": kind, "errorMessage": message}).encode(), failed=True, log=log)


def _tell(function: LambdaFunction, outcome: Outcome) -> None:
    for line in outcome.log.decode(errors="replace").splitlines():
        if line.strip():
            _say(f"{function.function_name}: {line}")
    if outcome.failed:
        told = json.loads(outcome.payload)
        _say(f"{function.function_name} failed: {told['errorType']}: {told['errorMessage']}")


def _say(line: str) -> None:
    print(f"Lambda: {line}", flush=True)
