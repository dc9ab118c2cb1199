"""A zip from its upload to its results through everything that is real: Lambda zip, Glue script under Spark, server.

S3, Lambda and Glue are the stand-in; what they run is what AWS would run.
"""

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.glue_venv import INTERPRETER, ensure_glue_venv
from scripts.package import package
from tests import batches, pictures, zips
from tests.localcloud.clouds import BUCKET, JOB, Cloud, cloud
from tests.servers import Service, process
from tests.zips import Member

IMAGES = 400
AWS = Path(sys.executable).parent / "aws"
NINEFOLD = Path(sys.executable).parent / "ninefold"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    package(folder)
    ensure_glue_venv()
    return folder


@pytest.fixture(scope="module")
def s3(built: Path) -> Iterator[Cloud]:
    with cloud(code_dir=built, glue_python=INTERPRETER, spark_master="local[2]", lambda_retry_seconds="2,4") as started:
        yield started


@pytest.fixture(scope="module")
def service(models_dir: Path, s3: Cloud) -> Iterator[Service]:
    with server_for(models_dir, s3) as started:
        started.wait_ready()
        yield started


def server_for(models_dir: Path, s3: Cloud) -> Any:
    settings = {"NINEFOLD_BUCKET": BUCKET, "NINEFOLD_S3_ENDPOINT": s3.url, "NINEFOLD_GLUE_JOB": JOB}
    return process(models_dir, **s3.env, **settings, NINEFOLD_THREADS="2", NINEFOLD_DECODE_THREADS="2")


@pytest.fixture(scope="module")
def many() -> bytes:
    """A zip of small distinct pictures, with all that may be among them."""
    small = {f"photos/{number:04d}.jpg": pictures.jpeg((96, 64), number) for number in range(IMAGES)}
    members = [Member("photos/", b""), *(Member(name, data) for name, data in small.items())]
    return zips.build([*members, Member("__MACOSX/._x", b"x"), Member("photos/broken.jpg", b"\xff\xd8\xff broken")])


def finish(service: Service, batch: str) -> list[dict[str, Any]]:
    """The rows, after "Batch predict"."""
    batches.wait_for(service, batch, "ready", seconds=180)
    assert batches.predict(service, batch).status_code == 202
    batches.wait_for(service, batch, "done", seconds=180)
    return batches.rows(service, batch)


def check(rows: list[dict[str, Any]], entries: int, errors: int, skipped: int) -> None:
    """Every entry exactly once."""
    assert [row["entry"] for row in rows] == list(range(entries))
    statuses = [row["status"] for row in rows]
    assert (statuses.count("error"), statuses.count("skipped")) == (errors, skipped)
    assert statuses.count("ok") == entries - errors - skipped


def test_the_aws_command_line_puts_a_zip_and_results_appear(service: Service, s3: Cloud, tmp_path: Path) -> None:
    photos = {name: pictures.sample(name) for name in ("koala.jpg", "cat.jpg", "macaw.jpg")}
    (tmp_path / "my photos.zip").write_bytes(zips.of(photos))
    command = [str(AWS), "s3", "cp", "my photos.zip", f"s3://{BUCKET}/uploads/demo/"]
    environment = os.environ | s3.env | {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = finish(service, "demo")
    check(rows, entries=3, errors=0, skipped=0)
    alone = service.predict(*photos.items())
    assert [row["predictions"] for row in rows] == [row["predictions"] for row in alone]  # to the last bit
    assert batches.state(service, "demo")["filename"] == "my photos.zip"
    assert len(s3.runs()) == 1  # the two events of an upload in parts, or a repeated one, start nothing more


def test_a_refused_zip_costs_no_run(service: Service, s3: Cloud) -> None:
    before = len(s3.runs())
    batches.drop_in(s3, "refused", b"this is no zip at all")
    found = batches.wait_for(service, "refused", "failed")
    assert found["error"]["code"] == "not_a_zip" and not found["restartable"]
    assert len(s3.runs()) == before


def test_the_command_line_sends_a_folder_and_saves_a_row_a_file(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    (folder / "animals").mkdir(parents=True)
    photos = {"animals/koala.jpg": pictures.sample("koala.jpg"), "cat.jpg": pictures.sample("cat.jpg")}
    for name, data in {**photos, "notes.txt": b"no picture", ".hidden": b"x"}.items():
        (folder / name).write_bytes(data)
    target = tmp_path / "results.json"
    command = [str(NINEFOLD), "batch", str(folder), "-o", str(target), "--server", service.url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stderr  # one file is no picture
    saved = json.loads(target.read_text(encoding="utf-8"))
    assert saved["counts"] == {"predictions": 2, "errors": 1, "skipped": 0, "entries": 3}
    rows = {row["name"]: row for row in saved["results"]}
    alone = service.predict(*photos.items())
    assert [rows[name]["predictions"] for name in photos] == [row["predictions"] for row in alone]
    assert rows["notes.txt"]["error"]["code"] == "unsupported_format"
    assert batches.state(service, saved["id"])["state"] == "done"  # kept for the page


def test_a_killed_run_is_failed_and_started_again_by_one_click(service: Service, s3: Cloud, many: bytes) -> None:
    batch = batches.upload(service, many)
    shards = f"batches/{batch}/"
    batches.within(180, lambda: _finished(s3, shards) != {}, lambda: s3.said)
    job = next(child for child in psutil.Process(s3.process.pid).children(recursive=True) if _is_job(child))
    for victim in [*job.children(recursive=True), job]:
        victim.send_signal(signal.SIGKILL)
    before = _finished(s3, shards)
    found = batches.wait_for(service, batch, "failed", "ready", seconds=30)
    assert found["state"] == "failed", "the run was faster than the test: give it more pictures"
    assert found["restartable"] and found["error"]["code"] == "preprocessing_failed"
    assert service.client.post(f"/v1/batches/{batch}/preprocess").status_code == 202
    rows = finish(service, batch)
    check(rows, entries=IMAGES + 3, errors=1, skipped=2)
    after = _finished(s3, shards)
    assert {key: after[key] for key in before} == before  # finished shards were not made again


def test_a_lambda_killed_between_claim_and_start_is_made_good_by_its_retry(
    models_dir: Path, built: Path, tmp_path: Path
) -> None:
    dies_once = """
import os, signal
import start_preprocessing as real

real.CLAIM_SECONDS = 3
start = real.Starter._start

def dying_start(self, arrival, *more):
    marker = f"{arrival.keys.prefix}died"
    if "Contents" not in self._s3.list_objects_v2(Bucket=arrival.bucket, Prefix=marker):
        self._s3.put_object(Bucket=arrival.bucket, Key=marker, Body=b"")
        os.kill(os.getpid(), signal.SIGKILL)
    return start(self, arrival, *more)

real.Starter._start = dying_start
handler = real.handler
"""
    code = tmp_path / "code"
    package(code)
    _rename_function(code / "lambda.zip", dies_once)
    with (
        cloud(code_dir=code, glue_python=INTERPRETER, lambda_retry_seconds="1,4") as s3,
        server_for(models_dir, s3) as service,
    ):
        service.wait_ready()
        batches.drop_in(s3, "survivor", zips.of({"a.jpg": pictures.jpeg()}))
        batches.within(20, lambda: s3.text(batches.job_of(s3, "survivor").source_keys.claim) is not None)
        assert batches.state(service, "survivor")["state"] == "preprocessing"
        rows = finish(service, "survivor")
        check(rows, entries=1, errors=0, skipped=0)
        assert len(s3.runs()) == 1
        assert '"taken_over"' in s3.said and "dead-letters" not in s3.said, s3.said


def _finished(s3: Cloud, prefix: str) -> dict[str, Any]:
    """The shards that are there, with their times."""
    found = batches.keys_under(s3, prefix)
    return {key: kept for key, kept in found.items() if "/part-" in key and key.endswith(".json")}


def _is_job(child: psutil.Process) -> bool:
    try:
        return any(part.endswith("preprocess.py") for part in child.cmdline())
    except psutil.Error:
        return False


def _rename_function(path: Path, wrapper: str) -> None:
    """The packaged function behind another one, which is what is called."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    files["real_start_preprocessing.py"] = files.pop("start_preprocessing.py")
    files["start_preprocessing.py"] = wrapper.replace("import start_preprocessing", "import real_start_preprocessing")
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
