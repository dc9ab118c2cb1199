"""Lambda: the deployed zip in a process of its own, tried again as AWS tries again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from localcloud.folder import SCRATCH
from localcloud.resources import DEAD_LETTERS, FUNCTION
from tests.localcloud.clouds import BUCKET, Cloud, cloud, wait_until, zipped

HANDLER = """
import importlib.util, json, os, sys, time
import beside

def bucket():
    import boto3
    return boto3.client("s3")

def handler(event, context):
    record = event["Records"][0] if "Records" in event else event
    work = record.get("do") or record["s3"]["object"]["key"].split("%2F")[1]
    return globals()[work](event, context)

def tell(event, context):
    return {
        "event": event,
        "cwd": os.getcwd(),
        "beside": beside.WORD,
        "environment": dict(os.environ),
        "here": [name for name in ("torch", "numpy", "moto", "contract", "localcloud", "pytest", "streamlit")
                 if importlib.util.find_spec(name)],
        "python": sys.executable,
        "pid": os.getpid(),
        "request": context.aws_request_id,
        "name": context.function_name,
        "memory": context.memory_limit_in_mb,
        "left": context.get_remaining_time_in_millis(),
    }

def keep(event, context):
    bucket().put_object(Bucket="ninefold", Key="kept.json", Body=json.dumps(event))

def fail_twice(event, context):
    s3 = bucket()
    earlier = s3.list_objects_v2(Bucket="ninefold", Prefix="tries/").get("Contents", [])
    s3.put_object(Bucket="ninefold", Key=f"tries/{len(earlier)}", Body=context.aws_request_id + f" {time.time()}")
    if len(earlier) < 2:
        raise RuntimeError("not yet")

def fail(event, context):
    raise ValueError("never")

def leave(event, context):
    os._exit(3)

def sleep(event, context):
    time.sleep(60)

def speak(event, context):
    print("a word")
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[Cloud]:
    with cloud(function={"start_preprocessing.py": HANDLER, "beside.py": "WORD = 'found'"}) as started:
        started.functions.update_function_configuration(FunctionName=FUNCTION, Timeout=3)
        yield started


def invoke(aws: Cloud, work: str, **arguments: Any) -> dict[str, Any]:
    answer = aws.functions.invoke(FunctionName=FUNCTION, Payload=json.dumps({"do": work}), **arguments)
    return {**answer, "answer": json.loads(answer["Payload"].read() or "null")}


def put(aws: Cloud, key: str) -> None:
    aws.s3.put_object(Bucket=BUCKET, Key=key, Body=b"zip")


def letters(aws: Cloud) -> list[dict[str, Any]]:
    queue = aws.sqs.get_queue_url(QueueName=DEAD_LETTERS)["QueueUrl"]
    received = aws.sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"], WaitTimeSeconds=0)
    return list(received.get("Messages", []))


def test_an_upload_runs_the_deployed_zip_with_the_key_percent_encoded(aws: Cloud) -> None:
    put(aws, "uploads/keep/a b+ü.zip")
    wait_until(lambda: aws.text("kept.json") is not None, 10, lambda: aws.said)
    (record,) = json.loads(aws.text("kept.json") or "")["Records"]
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["s3"]["bucket"]["name"] == BUCKET
    assert record["s3"]["object"]["key"] == "uploads%2Fkeep%2Fa+b%2B%C3%BC.zip"
    assert record["s3"]["object"]["size"] == 3


@pytest.mark.parametrize("key", ["uploads/keep/notes.txt", "other/keep/a.zip"])
def test_what_is_no_upload_of_a_zip_runs_nothing(aws: Cloud, key: str) -> None:
    aws.s3.delete_object(Bucket=BUCKET, Key="kept.json")
    put(aws, key)
    invoke(aws, "speak")  # takes longer than the event would
    assert aws.text("kept.json") is None


def test_a_call_sees_its_zip_and_awss_packages_and_nothing_else(aws: Cloud) -> None:
    told = invoke(aws, "tell")["answer"]
    assert told["event"] == {"do": "tell"}
    assert told["beside"] == "found"
    assert told["here"] == []
    assert told["cwd"].startswith(str(aws.data))
    assert told["pid"] != aws.process.pid
    assert (told["name"], told["memory"]) == (FUNCTION, 512)
    assert 1000 < told["left"] <= 3000
    environment = told["environment"]
    assert environment["GLUE_JOB"] == "ninefold-preprocess"
    assert environment["AWS_ENDPOINT_URL"] == aws.url
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == FUNCTION
    assert not [name for name in environment if name.startswith(("NINEFOLD_", "PYTEST", "VIRTUAL_ENV"))]


def test_new_code_is_what_runs_from_then_on(aws: Cloud) -> None:
    name = "another"
    role = aws.functions.get_function(FunctionName=FUNCTION)["Configuration"]["Role"]
    code = zipped({"code.py": "def handler(event, context): return 1"})
    aws.functions.create_function(
        FunctionName=name, Runtime="python3.12", Role=role, Handler="code.handler", Code={"ZipFile": code}
    )
    assert aws.functions.invoke(FunctionName=name)["Payload"].read() == b"1"
    code = zipped({"code.py": "def handler(event, context): return 2"})
    aws.functions.update_function_code(FunctionName=name, ZipFile=code)
    assert aws.functions.invoke(FunctionName=name)["Payload"].read() == b"2"


def test_what_the_handler_raises_is_the_answer(aws: Cloud) -> None:
    failed = invoke(aws, "fail", LogType="Tail")
    assert failed["FunctionError"] == "Unhandled"
    assert (failed["answer"]["errorType"], failed["answer"]["errorMessage"]) == ("ValueError", "never")
    assert failed["answer"]["stackTrace"]
    assert failed["LogResult"]


def test_a_process_that_leaves_and_one_that_takes_too_long_are_failures(aws: Cloud) -> None:
    assert invoke(aws, "leave")["answer"] == {
        "errorType": "Runtime.ExitError",
        "errorMessage": "Runtime exited with exit code 3",
    }
    assert invoke(aws, "sleep")["answer"] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "Task timed out after 3.00 seconds",
    }


def test_a_dry_run_runs_nothing_and_an_event_answers_before_it_has_run(aws: Cloud) -> None:
    assert invoke(aws, "leave", InvocationType="DryRun")["StatusCode"] == 204
    assert invoke(aws, "speak", InvocationType="Event")["StatusCode"] == 202
    wait_until(lambda: "a word" in aws.said, 10, lambda: aws.said)


def test_a_failing_event_is_tried_again_after_each_pause_with_the_same_request(aws: Cloud) -> None:
    put(aws, "uploads/fail_twice/a.zip")
    wait_until(lambda: aws.text("tries/2") is not None, 20, lambda: aws.said)
    tries = [(aws.text(f"tries/{number}") or "").split() for number in range(3)]
    assert len({request for request, _ in tries}) == 1
    times = [float(at) for _, at in tries]
    assert times[1] - times[0] >= 0.2
    assert times[2] - times[1] >= 0.4
    assert letters(aws) == []


def test_an_event_that_never_succeeds_becomes_a_dead_letter_once(aws: Cloud) -> None:
    put(aws, "uploads/fail/a.zip")
    wait_until(lambda: "the event is in" in aws.said, 20, lambda: aws.said)
    (letter,) = letters(aws)
    assert json.loads(letter["Body"])["Records"][0]["s3"]["object"]["key"] == "uploads%2Ffail%2Fa.zip"
    assert "never" in letter["MessageAttributes"]["ErrorMessage"]["StringValue"]
    assert aws.said.count("failed: ValueError: never") >= 3


def test_without_a_queue_the_lost_event_is_told(aws: Cloud) -> None:
    role = aws.functions.get_function(FunctionName=FUNCTION)["Configuration"]["Role"]
    code = zipped({"code.py": "def handler(event, context): raise ValueError('never')"})
    aws.functions.create_function(
        FunctionName="no-queue", Runtime="python3.12", Role=role, Handler="code.handler", Code={"ZipFile": code}
    )
    aws.functions.invoke(FunctionName="no-queue", InvocationType="Event", Payload=b'{"a": "lost one"}')
    told = 'no-queue failed 3 times; the event is lost: {"a": "lost one"}'
    wait_until(lambda: told in aws.said, 10, lambda: aws.said)


def test_where_no_call_can_be_run_the_event_is_tried_again_and_ends_as_a_dead_letter() -> None:
    with cloud() as aws:
        shutil.rmtree(aws.data / SCRATCH)  # as on a disk that went away
        put(aws, "uploads/keep/a.zip")
        wait_until(lambda: "the event is in" in aws.said, 20, lambda: aws.said)
        (letter,) = letters(aws)
        assert "it could not be run: FileNotFoundError" in letter["MessageAttributes"]["ErrorMessage"]["StringValue"]
        assert aws.said.count("failed: Sandbox.Failed: it could not be run: ") == 3
        answer = aws.functions.invoke(FunctionName=FUNCTION, Payload=b"{}")
        assert answer["FunctionError"] == "Unhandled"
