"""S3: what our code leans on and moto alone does not give."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from localcloud.names import Names
from localcloud.settings import Settings
from tests.localcloud.clouds import BUCKET, Cloud, cloud, wait_until

MIB = 1 << 20
PAGE = "http://localhost:8501"
SIGNED = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"


@pytest.fixture(scope="module")
def s3() -> Iterator[Cloud]:
    with cloud(function={"start_preprocessing.py": "def handler(event, context): print('got', event)"}) as started:
        yield started


def together(work: Any, times: int) -> list[Any]:
    """What `work(number)` returned or raised, all begun at the same moment."""
    gate = threading.Barrier(times)

    def one(number: int) -> Any:
        gate.wait()
        try:
            return work(number)
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def code_of(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return str(refused.value.response["Error"]["Code"])


def race(s3: Cloud, key: str, condition: str, writers: int = 12) -> list[int]:
    """The status that each of many PUTs got whose last bytes arrived together.

    The bodies go to files, and while a thread writes a file others run: without a lock several would be the first.
    """
    host, _, port = s3.url.removeprefix("http://").partition(":")
    bodies = [b"%s by %d ".ljust(3 * MIB, b"x") % (condition.encode(), number) for number in range(writers)]
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection((host, int(port)), 30)) for _ in bodies]
        for each, body in zip(sockets, bodies, strict=True):
            head = f"PUT /{BUCKET}/{key} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {SIGNED}\r\n{condition}\r\n"
            each.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
        time.sleep(0.1)
        for each in sockets:
            each.sendall(b"x")
        return [int(each.makefile("rb").readline().split()[1]) for each in sockets]


def test_of_many_writers_who_want_to_be_the_first_exactly_one_is(s3: Cloud) -> None:
    for round_ in range(6):
        statuses = race(s3, f"claims/{round_}", "If-None-Match: *")
        assert sorted(statuses) == [200] + [412] * 11


def test_of_many_writers_who_replace_what_they_read_exactly_one_does(s3: Cloud) -> None:
    s3.s3.put_object(Bucket=BUCKET, Key="lease", Body=b"first")
    for _ in range(6):
        etag = s3.s3.head_object(Bucket=BUCKET, Key="lease")["ETag"]
        assert sorted(race(s3, "lease", f"If-Match: {etag}")) == [200] + [412] * 11


def test_a_condition_on_what_is_not_there_is_refused(s3: Cloud) -> None:
    with pytest.raises(ClientError) as refused:
        s3.s3.put_object(Bucket=BUCKET, Key="not-there", Body=b"x", IfMatch='"abc"')
    assert code_of(refused) == "NoSuchKey"


def test_readers_see_whole_objects_while_they_are_replaced(s3: Cloud) -> None:
    bodies = [bytes([letter]) * (3 * MIB) for letter in b"ab"]
    s3.s3.put_object(Bucket=BUCKET, Key="replaced", Body=bodies[0])

    def work(number: int) -> bool:
        for _ in range(5):
            if number < 2:
                s3.s3.put_object(Bucket=BUCKET, Key="replaced", Body=bodies[number])
            else:
                answer = s3.s3.get_object(Bucket=BUCKET, Key="replaced")
                body = answer["Body"].read()
                assert body in bodies
                assert answer["ETag"].strip('"') == hashlib.md5(body).hexdigest()
        return True

    assert together(work, 6) == [True] * 6


def upload(s3: Cloud, key: str, size: int, folder: Path, part: int = 8 * MIB) -> bytes:
    """A file of this size, whose SHA-256 it returns, uploaded in parts."""
    digest, path = hashlib.sha256(), folder / "large"
    with path.open("wb") as file:
        for number in range(0, size, MIB):
            block = hashlib.sha256(b"%d" % number).digest() * (min(MIB, size - number) // 32)
            digest.update(block)
            file.write(block)
    config = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=4)
    s3.s3.upload_file(str(path), BUCKET, key, Config=config)
    return digest.digest()


def test_a_large_object_is_never_held_in_memory(s3: Cloud, tmp_path: Path) -> None:
    size = 200 * MIB
    memory = psutil.Process(s3.process.pid).memory_info
    before = peak = memory().rss
    on_disk = open_megabytes(s3)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, memory().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        expected = upload(s3, "large.bin", size, tmp_path)
        received = hashlib.sha256()
        for block in s3.s3.get_object(Bucket=BUCKET, Key="large.bin")["Body"].iter_chunks(MIB):
            received.update(block)
    finally:
        done.set()
        watcher.join()
    assert received.digest() == expected
    # Four parts are on their way at once, and each is there twice while it is written.
    assert peak - before < 120 * MIB
    s3.s3.delete_object(Bucket=BUCKET, Key="large.bin")
    wait_until(lambda: open_megabytes(s3) <= on_disk, 5, lambda: (on_disk, open_megabytes(s3)))


def open_megabytes(s3: Cloud) -> float:
    """What the files take that only open descriptors keep on the disk. Only Linux shows them: elsewhere 0."""
    descriptors = Path(f"/proc/{s3.process.pid}/fd")
    if not descriptors.exists():
        return 0
    return sum(each.stat().st_size for each in descriptors.iterdir() if "(deleted)" in str(each.readlink())) / MIB


def test_a_range_is_read_without_the_rest(s3: Cloud) -> None:
    body = bytes(range(256)) * (20 * MIB // 256)
    s3.s3.put_object(Bucket=BUCKET, Key="ranges", Body=body)
    for asked, expected in {
        "bytes=0-9": body[:10],
        "bytes=5000000-5000255": body[5_000_000:5_000_256],
        "bytes=-7": body[-7:],
        f"bytes={len(body) - 3}-": body[-3:],
        f"bytes={len(body) - 3}-{len(body) + 100}": body[-3:],
    }.items():
        answer = s3.s3.get_object(Bucket=BUCKET, Key="ranges", Range=asked)
        assert answer["Body"].read() == expected
        assert answer["ContentLength"] == len(expected)
    with pytest.raises(ClientError) as refused:
        s3.s3.get_object(Bucket=BUCKET, Key="ranges", Range=f"bytes={len(body)}-")
    assert code_of(refused) == "InvalidRange"
    if not hasattr(psutil.Process, "io_counters"):  # a Mac does not tell
        return
    read = psutil.Process(s3.process.pid).io_counters().read_chars
    for _ in range(20):
        s3.s3.get_object(Bucket=BUCKET, Key="ranges", Range="bytes=1000-1999")["Body"].read()
    assert psutil.Process(s3.process.pid).io_counters().read_chars - read < MIB


def test_an_etag_that_changed_refuses_the_range(s3: Cloud) -> None:
    s3.s3.put_object(Bucket=BUCKET, Key="changed", Body=b"new")
    with pytest.raises(ClientError) as refused:
        s3.s3.get_object(Bucket=BUCKET, Key="changed", Range="bytes=0-1", IfMatch='"of-the-old-one"')
    assert code_of(refused) == "PreconditionFailed"


def test_an_upload_in_parts_is_one_event_with_its_own_etag(s3: Cloud, tmp_path: Path) -> None:
    upload(s3, "uploads/parts/a.zip", 11 * MIB, tmp_path, part=5 * MIB)
    etag = s3.s3.head_object(Bucket=BUCKET, Key="uploads/parts/a.zip")["ETag"].strip('"')
    assert etag.endswith("-3")
    wait_until(lambda: "uploads%2Fparts%2Fa.zip" in s3.said, 10, lambda: s3.said)
    s3.s3.put_object(Bucket=BUCKET, Key="uploads/last/b.zip", Body=b"x")  # events keep their order near enough
    wait_until(lambda: "uploads%2Flast%2Fb.zip" in s3.said, 10, lambda: s3.said)
    lines = [line for line in s3.said.splitlines() if "parts%2Fa.zip" in line]
    assert len(lines) == 1
    assert "ObjectCreated:CompleteMultipartUpload" in lines[0]
    assert etag in lines[0]


def test_parts_that_do_not_fit_are_refused_and_can_be_completed_afterwards(s3: Cloud) -> None:
    about = {"Bucket": BUCKET, "Key": "refused"}
    about["UploadId"] = s3.s3.create_multipart_upload(**about)["UploadId"]
    etags = [
        s3.s3.upload_part(**about, PartNumber=number, Body=bytes([number]) * (5 * MIB))["ETag"] for number in (1, 2)
    ]
    parts = [{"PartNumber": 1, "ETag": etags[0]}, {"PartNumber": 2, "ETag": '"another"'}]
    with pytest.raises(ClientError) as refused:
        s3.s3.complete_multipart_upload(**about, MultipartUpload={"Parts": parts})
    assert code_of(refused) == "InvalidPart"
    parts[1]["ETag"] = etags[1]
    s3.s3.complete_multipart_upload(**about, MultipartUpload={"Parts": parts})
    assert s3.s3.get_object(Bucket=BUCKET, Key="refused")["Body"].read() == b"\1" * 5 * MIB + b"\2" * 5 * MIB
    again = s3.s3.complete_multipart_upload(**about, MultipartUpload={"Parts": parts})
    assert again["ETag"] == s3.s3.head_object(Bucket=BUCKET, Key="refused")["ETag"]


def test_an_upload_that_was_aborted_takes_no_more_parts(s3: Cloud) -> None:
    about = {"Bucket": BUCKET, "Key": "aborted"}
    about["UploadId"] = s3.s3.create_multipart_upload(**about)["UploadId"]
    s3.s3.upload_part(**about, PartNumber=1, Body=b"x")
    assert [part["Size"] for part in s3.s3.list_parts(**about)["Parts"]] == [1]
    s3.s3.abort_multipart_upload(**about)
    for call, arguments in {
        s3.s3.upload_part: {"PartNumber": 2, "Body": b"x"},
        s3.s3.complete_multipart_upload: {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": '"x"'}]}},
        s3.s3.list_parts: {},
    }.items():
        with pytest.raises(ClientError) as refused:
            call(**about, **arguments)
        assert code_of(refused) == "NoSuchUpload"


def test_a_page_may_upload_a_presigned_part_and_reads_its_etag(s3: Cloud) -> None:
    about = {"Bucket": BUCKET, "Key": "uploads/page/a b.zip"}
    about["UploadId"] = s3.s3.create_multipart_upload(**about)["UploadId"]
    url = s3.s3.generate_presigned_url("upload_part", {**about, "PartNumber": 1})
    asks = {"Origin": PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    with httpx.Client(trust_env=False) as browser:
        preflight = browser.options(url, headers=asks)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
        assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
        assert preflight.headers["Access-Control-Allow-Headers"] == "*"
        put = browser.put(url, content=b"part", headers={"Origin": PAGE, "Content-Type": "application/zip"})
        assert put.status_code == 200
        assert put.headers["Access-Control-Allow-Origin"] == PAGE
        assert put.headers["Access-Control-Expose-Headers"] == "ETag"
        assert put.headers["ETag"].strip('"') == hashlib.md5(b"part").hexdigest()


def test_other_pages_reach_nothing(s3: Cloud) -> None:
    before = s3.text("code/preprocess.py")
    with httpx.Client(base_url=s3.url, trust_env=False, headers={"Origin": "http://evil.example"}) as browser:
        form = {"key": "code/preprocess.py"}
        assert browser.post(f"/{BUCKET}", data=form, files={"file": b"import os"}).status_code == 403
        assert browser.options(f"/{BUCKET}/x", headers={"Access-Control-Request-Method": "PUT"}).status_code == 403
        assert browser.get(f"/{BUCKET}/notice.json").status_code == 403
    with httpx.Client(base_url=s3.url, trust_env=False) as anyone:
        assert anyone.post("/moto-api/reset").status_code == 404
    assert s3.text("code/preprocess.py") == before


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:9000", True),
        ("LOCALHOST.", True),
        ("ninefold.localhost:9000", True),
        ("192.168.0.7:9000", True),
        ("[::1]:9000", True),
        ("pages.example:9000", True),
        ("ours.lan", True),
        ("ninefold.ours.lan", True),
        ("evil.example", False),
        ("localhost.evil.example:9000", False),
        ("127.0.0.1.evil.example", False),
        ("notours.lan", False),
        ("localcloud:9000", False),
        ("[evil", False),
    ],
)
def test_it_is_asked_by_its_own_names_alone(named: Cloud, host: str, known: bool) -> None:
    """A page may give its own name this machine's address: then it reads without an Origin."""
    headers = {"Host": host, "Authorization": SIGNED}
    answer = httpx.get(f"{named.url}/{BUCKET}/code/preprocess.py", headers=headers, trust_env=False)
    assert (answer.status_code != 403) == known
    assert ("NINEFOLD_CLOUD_NAMES" in answer.text) != known


@pytest.fixture(scope="module")
def named() -> Iterator[Cloud]:
    with cloud(page_origins="http://pages.example:8501", names="ours.lan") as started:
        yield started


def test_a_bucket_may_be_named_in_the_hosts_name(named: Cloud) -> None:
    headers = {"Host": f"{BUCKET}.localhost:9000", "Authorization": SIGNED}
    answer = httpx.get(f"{named.url}/code/preprocess.py", headers=headers, trust_env=False)
    assert answer.text == named.text("code/preprocess.py")


@pytest.mark.parametrize(
    ("settings", "host", "known"),
    [
        (Settings(host="0.0.0.0"), "localcloud:9000", True),
        (Settings(host="0.0.0.0"), f"{socket.gethostname()}:9000", True),
        (Settings(host="0.0.0.0"), "evil.example", False),
        (Settings(host="storage.lan"), "storage.lan:9000", True),
        (Settings(host="localhost"), "localcloud", False),
        (Settings(host="::1"), "localcloud", False),
        (Settings(page_origins=("https://pages.example",)), "pages.example", True),
        (Settings(), "", False),
    ],
)
def test_whoever_is_reached_from_elsewhere_has_names_without_a_dot(settings: Settings, host: str, known: bool) -> None:
    assert (host in Names.of(settings)) == known


def test_with_pages_of_every_origin_it_has_every_name() -> None:
    with cloud(page_origins="*") as aws:
        answer = httpx.get(
            f"{aws.url}/_not/there", headers={"Host": "any.example", "Authorization": SIGNED}, trust_env=False
        )
        assert answer.status_code != 403


def test_tags_and_metadata_are_kept(s3: Cloud) -> None:
    s3.s3.put_object(
        Bucket=BUCKET, Key="tagged", Body=b"x", Tagging="ninefold=tensors", Metadata={"a": "b"}, ContentType="text/x"
    )
    assert s3.s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"] == [{"Key": "ninefold", "Value": "tensors"}]
    answer = s3.s3.get_object(Bucket=BUCKET, Key="tagged")
    assert (answer["Metadata"], answer["ContentType"]) == ({"a": "b"}, "text/x")


def test_a_copy_of_an_object_in_parts_is_whole(s3: Cloud, tmp_path: Path) -> None:
    expected = upload(s3, "source", 9 * MIB, tmp_path, part=5 * MIB)
    s3.s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "source"})
    body = s3.s3.get_object(Bucket=BUCKET, Key="copy")["Body"].read()
    assert hashlib.sha256(body).digest() == expected


def test_a_buckets_policy_is_shown_and_asked_as_little_as_a_roles(s3: Cloud) -> None:
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::guarded/*"}
    over_tls = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied | over_tls]})
    s3.s3.create_bucket(Bucket="guarded")
    s3.s3.put_bucket_policy(Bucket="guarded", Policy=policy)
    s3.s3.put_object(Bucket="guarded", Key="a", Body=b"a")
    assert s3.s3.get_object(Bucket="guarded", Key="a")["Body"].read() == b"a"
    assert json.loads(s3.s3.get_bucket_policy(Bucket="guarded")["Policy"]) == json.loads(policy)
