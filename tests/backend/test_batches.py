"""/v1/batches over HTTP against a real S3 API: uploads, states, predictions, results, and the end of a batch."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from backend.batches.errors import BatchProblem
from backend.batches.storage import Storage
from backend.batches.uploads import Uploads
from contract.batches import Lease
from contract.transform import TransformSpec, to_pixels
from tests import batches, pictures, zips
from tests.localcloud.clouds import BUCKET, Cloud
from tests.servers import Service, serve
from tests.zips import Member

NAMES = ("koala.jpg", "cat.jpg", "macaw.jpg")
PHOTOS = {name: pictures.sample(name) for name in NAMES}
MIXED = [
    Member("animals/", b""),
    *(Member(f"animals/{name}", data) for name, data in PHOTOS.items()),
    Member("__MACOSX/._koala.jpg", b"x"),
    Member("same.jpg", PHOTOS["cat.jpg"]),
    Member("same.jpg", PHOTOS["koala.jpg"]),
    Member("=cmd|' /C calc'!A0.jpg", PHOTOS["cat.jpg"]),
    Member("notes.txt", b"no picture at all"),
    Member("inner.zip", b"PK\3\4"),
]


@pytest.fixture(scope="module")
def s3() -> Iterator[Cloud]:
    with batches.storage() as started:
        yield started


@pytest.fixture(scope="module")
def service(models_dir: Path, s3: Cloud) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        settings = batches.use(monkeypatch, s3)
        with serve(models_dir, threads=2, page_origins="http://page.example", **settings) as started:
            yield started


@pytest.fixture(scope="module")
def done(service: Service, s3: Cloud) -> str:
    """A batch of MIXED that has been predicted; not to be changed."""
    batch = batches.upload(service, zips.build(MIXED), "holiday photos.zip")
    batches.preprocess(s3, batch)
    assert batches.predict(service, batch).status_code == 202
    batches.wait_for(service, batch, "done")
    return batch


def code(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error, which must be in the one shape."""
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"} and set(error) == {"code", "message"} and error["message"]
    return answer.status_code, error["code"]


# -- uploads -------------------------------------------------------------------------------------------------------


def test_a_zip_goes_straight_to_s3_in_parts_and_arrives_as_it_was(service: Service, s3: Cloud) -> None:
    data = zips.of({"noise.bin": np.random.default_rng(1).bytes(20_000_000)})
    created = service.client.post("/v1/batches", json={"filename": "größe (1).zip", "size_bytes": len(data)}).json()
    batch, plan = created["id"], created["upload"]
    assert plan == {"part_size": 8 << 20, "parts": 3}
    assert batches.state(service, batch)["state"] == "created"
    batches.send_parts(service, batch, data, plan["part_size"], [3, 1])
    arrived = service.client.get(f"/v1/batches/{batch}/upload").json()
    assert [part["part"] for part in arrived["arrived"]] == [1, 3]
    assert arrived["filename"] == "größe (1).zip" and arrived["size_bytes"] == len(data)
    early = service.client.post(f"/v1/batches/{batch}/upload/complete")
    assert code(early) == (409, "parts_missing") and "1 of 3" in early.text
    batches.send_parts(service, batch, data, plan["part_size"], [2])
    for _ in range(2):  # the second time changes nothing
        body = service.client.post(f"/v1/batches/{batch}/upload/complete").json()
        assert (body["state"], body["size_bytes"], body["filename"]) == ("uploaded", len(data), "größe (1).zip")
    key = next(key for key in batches.everything_of(s3, batch) if key.startswith("uploads/"))
    assert s3.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
    assert code(service.client.get(f"/v1/batches/{batch}/upload")) == (409, "wrong_state")


def test_a_signed_address_is_good_for_one_part_of_one_size_for_fifteen_minutes(
    monkeypatch: pytest.MonkeyPatch, s3: Cloud
) -> None:
    batches.use(monkeypatch, s3)
    storage = Storage(BUCKET, s3.url, "http://files.example:9000")
    upload = Uploads(storage, 10**9).create("photos.zip", (8 << 20) + 5)
    url = urlsplit(upload.urls([2])[2])
    signed = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert url.netloc == "files.example:9000" and url.path.endswith(f"/uploads/{upload.batch}/photos.zip")
    assert signed["partNumber"] == "2" and signed["X-Amz-Expires"] == "900"
    assert "content-length" in signed["X-Amz-SignedHeaders"].split(";")


def test_what_s3_holds_counts_whatever_was_announced(monkeypatch: pytest.MonkeyPatch, s3: Cloud) -> None:
    batches.use(monkeypatch, s3)
    upload = Uploads(Storage(BUCKET, s3.url), most_bytes=2000).create("photos.zip", 1500)
    httpx.put(upload.urls([1])[1], content=b"x" * 1500, trust_env=False).raise_for_status()
    with pytest.raises(BatchProblem) as refused:
        upload.complete(most_bytes=1000)
    assert (refused.value.status, refused.value.code) == (413, "zip_too_large")
    assert not batches.keys_under(s3, f"uploads/{upload.batch}/")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"filename": "photos.zip", "size_bytes": 500_000_001}, (413, "zip_too_large")),
        ({"filename": "photos.rar", "size_bytes": 5}, (422, "not_a_zip")),
        ({"filename": "photos.zip", "size_bytes": 0}, (422, "empty_file")),
        ({"filename": "photos.zip"}, (422, "invalid_parameter")),
        ({"filename": "", "size_bytes": 5}, (422, "invalid_parameter")),
    ],
)
def test_what_will_be_no_batch_is_refused_before_anything_is_sent(
    service: Service, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert code(service.client.post("/v1/batches", json=body)) == expected


def test_a_hostile_file_name_becomes_a_harmless_key(service: Service, s3: Cloud) -> None:
    data = zips.of({"a.jpg": b"x"})
    batch = batches.upload(service, data, "../../etc/<script>alert(1)</script>.ZIP")
    uploads = [key for key in batches.everything_of(s3, batch) if key.startswith("uploads/")]
    assert uploads == [f"uploads/{batch}/script.zip"]
    assert batches.state(service, batch)["filename"] == "script>.ZIP"


@pytest.mark.parametrize("parts", [[0], [2], [-1], [], list(range(1, 66))])
def test_numbers_that_are_no_parts_are_refused(service: Service, parts: list[int]) -> None:
    created = service.client.post("/v1/batches", json={"filename": "a.zip", "size_bytes": 10}).json()
    answer = service.client.post(f"/v1/batches/{created['id']}/upload/urls", json={"parts": parts})
    assert code(answer) == (422, "invalid_parameter")


@pytest.mark.parametrize("batch", ["nope", "%2e%2e", "a%2Fb", "a%20b", "x" * 64])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/upload"),
        ("POST", "/upload/complete"),
        ("POST", "/predict"),
        ("POST", "/preprocess"),
        ("GET", "/results"),
        ("GET", "/pixels/0"),
    ],
)
def test_an_unknown_batch_is_a_404_everywhere(service: Service, method: str, path: str, batch: str) -> None:
    status, which = code(service.client.request(method, f"/v1/batches/{batch}{path}"))
    assert (status, which) in ((404, "unknown_batch"), (404, "not_found"))


# -- results -------------------------------------------------------------------------------------------------------


def test_every_entry_comes_back_once_with_what_became_of_it(service: Service, done: str) -> None:
    rows = batches.rows(service, done)
    assert [row["entry"] for row in rows] == list(range(len(MIXED)))
    assert [row["name"] for row in rows] == [member.name for member in MIXED]
    assert [row.get("reason") for row in rows if row["status"] == "skipped"] == [
        "folder",
        "macos_metadata",
        "nested_zip",
    ]
    assert [row["error"]["code"] for row in rows if row["status"] == "error"] == ["unsupported_format"]
    body = batches.state(service, done)
    counts = body["predictions"][0]["counts"]
    assert counts == {"predictions": 6, "errors": 1, "skipped": 3, "entries": len(MIXED)}
    assert (body["entries"], body["images"], body["errors"], body["skipped"]) == (len(MIXED), 6, 1, 3)


def test_a_batch_says_the_same_of_a_picture_as_predict(service: Service, done: str) -> None:
    alone = {row["name"]: row for row in service.predict(*PHOTOS.items())}
    rows = {row["entry"]: row for row in batches.rows(service, done)}
    for entry, name in enumerate(NAMES, start=1):
        assert rows[entry]["predictions"] == alone[name]["predictions"]  # to the last bit
    assert rows[5]["predictions"] == alone["cat.jpg"]["predictions"]
    assert rows[6]["predictions"] == alone["koala.jpg"]["predictions"]


def test_the_three_formats_agree(service: Service, done: str) -> None:
    address = f"/v1/batches/{done}/results"
    whole = service.client.get(address).json()
    lines = service.client.get(address, params={"format": "jsonl"})
    assert [json.loads(line) for line in lines.text.splitlines()] == whole["results"]
    assert (whole["id"], whole["model"], whole["precision"]) == (done, "efficientnet_lite0", "fp32")
    assert whole["filename"] == "holiday photos.zip" and whole["counts"]["entries"] == len(MIXED)
    table = service.client.get(address, params={"format": "csv"})
    assert table.headers["content-disposition"] == f'attachment; filename="{done}-results.csv"'
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert list(rows[0])[:6] == ["entry", "name", "status", "label1", "index1", "probability1"]
    assert list(rows[0])[-2:] == ["code", "message"] and len(rows) == len(MIXED)
    for row, meant in zip(rows, whole["results"], strict=True):
        assert row["status"] == meant["status"] and int(row["entry"]) == meant["entry"]
        if meant["status"] == "ok":
            assert float(row["probability1"]) == meant["predictions"][0]["probability"]
            assert row["label5"] == meant["predictions"][4]["label"]
    assert rows[0]["code"] == "folder" and rows[8]["code"] == "unsupported_format" and rows[8]["message"]
    assert rows[7]["name"] == "'" + str(MIXED[7].name)  # or a spreadsheet would run it
    assert code(service.client.get(address, params={"format": "xml"})) == (422, "invalid_parameter")
    assert code(service.client.get(address, params={"model": "resnet50"})) == (409, "wrong_state")


def test_the_pixels_of_an_entry_are_shown(service: Service, done: str) -> None:
    answer = service.client.get(f"/v1/batches/{done}/pixels/6")
    assert answer.headers["content-type"] == "image/jpeg"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)), np.int16)
    meant = to_pixels(PHOTOS["koala.jpg"], TransformSpec()).astype(np.int16)
    assert shown.shape == (224, 224, 3) and np.abs(shown - meant).mean() < 4
    for entry in (0, 8, 10, 10**12):
        assert code(service.client.get(f"/v1/batches/{done}/pixels/{entry}")) == (404, "no_pixels")


def test_asking_again_predicts_nothing_again(service: Service, s3: Cloud, done: str) -> None:
    before = {key: kept for key, kept in batches.keys_under(s3, f"batches/{done}/").items() if "-fp32/" in key}
    assert batches.predict(service, done).json()["state"] == "done"
    after = {key: kept for key, kept in batches.keys_under(s3, f"batches/{done}/").items() if "-fp32/" in key}
    assert before == after and len(before) == 3  # lease, one part, done


# -- what is asked at the wrong time -------------------------------------------------------------------------------


def test_a_batch_that_is_not_ready_cannot_be_predicted(service: Service, s3: Cloud) -> None:
    created = service.client.post("/v1/batches", json={"filename": "a.zip", "size_bytes": 10}).json()["id"]
    assert code(batches.predict(service, created)) == (409, "wrong_state")
    batches.drop_in(s3, "waiting", zips.of(PHOTOS))
    answer = batches.predict(service, "waiting")
    assert code(answer) == (409, "wrong_state") and "waits" in answer.text
    assert code(service.client.get("/v1/batches/waiting/results")) == (409, "wrong_state")


def test_other_pixels_need_preprocessing_first(service: Service, s3: Cloud) -> None:
    batches.drop_in(s3, "other-pixels", zips.of(PHOTOS))
    batches.preprocess(s3, "other-pixels", TransformSpec(resize=342, crop=299))
    answer = batches.predict(service, "other-pixels")
    assert code(answer) == (409, "needs_preprocessing") and "efficientnet_lite0" in answer.text
    assert batches.state(service, "other-pixels")["state"] == "ready"


def test_the_models_that_cannot_answer_are_told_apart(service: Service, s3: Cloud) -> None:
    batches.drop_in(s3, "which-model", zips.of(PHOTOS))
    batches.preprocess(s3, "which-model")
    assert code(batches.predict(service, "which-model", model="nonsense")) == (404, "unknown_model")
    assert code(batches.predict(service, "which-model", model="resnet50")) == (409, "model_missing")


def test_another_variant_predicts_from_the_same_shards(service: Service, s3: Cloud) -> None:
    batches.drop_in(s3, "two-variants", zips.of(PHOTOS))
    batches.preprocess(s3, "two-variants")
    for model in ("efficientnet_lite0", "resnet18-seeded"):
        assert batches.predict(service, "two-variants", model=model).status_code == 202
        batches.within(
            30,
            lambda model=model: any(  # type: ignore[misc]
                found["model"] == model and found["state"] == "done"
                for found in batches.state(service, "two-variants")["predictions"]
            ),
        )
    answers = [
        service.client.get("/v1/batches/two-variants/results", params={"model": model}).json()
        for model in ("efficientnet_lite0", "resnet18-seeded")
    ]
    assert [answer["model"] for answer in answers] == ["efficientnet_lite0", "resnet18-seeded"]
    assert answers[0]["results"][0]["predictions"] != answers[1]["results"][0]["predictions"]


# -- lists, notices, deletion --------------------------------------------------------------------------------------


def test_a_drop_in_is_listed_with_its_name_and_expiry(service: Service, s3: Cloud) -> None:
    batches.drop_in(s3, "Demo.2026_x-1", zips.of(PHOTOS), "Fotos für alle.zip")
    s3.s3.put_object(Bucket=BUCKET, Key="uploads/a b/x.zip", Body=b"x")  # no id: no batch
    s3.s3.put_object(Bucket=BUCKET, Key="uploads/only-text/x.txt", Body=b"x")
    body = service.client.get("/v1/batches").json()
    listed = {found["id"]: found for found in body["batches"]}
    found = listed["Demo.2026_x-1"]
    assert (found["filename"], found["state"], found["restartable"]) == ("Fotos für alle.zip", "uploaded", False)
    assert found["expires"]["upload"] > found["created"] and found["expires"]["results"] is None
    assert "a b" not in listed and "only-text" not in listed
    assert body["notice"] == {"message": "", "disposable": True}
    assert body["limits"] == {"zip_bytes": 500_000_000, "entries": 100_000}
    created = [found["created"] for found in body["batches"]]
    assert created == sorted(created, reverse=True)


def test_deleting_removes_every_trace(service: Service, s3: Cloud) -> None:
    batch = batches.upload(service, zips.of(PHOTOS))
    batches.preprocess(s3, batch)
    batches.predict(service, batch)
    batches.wait_for(service, batch, "done")
    assert service.client.delete(f"/v1/batches/{batch}").status_code == 204
    assert batches.everything_of(s3, batch) == []
    assert code(service.client.get(f"/v1/batches/{batch}")) == (404, "unknown_batch")
    assert batch not in {found["id"] for found in service.client.get("/v1/batches").json()["batches"]}


def test_deleting_an_unfinished_upload_gives_up_its_parts(service: Service, s3: Cloud) -> None:
    data = zips.of({"a.bin": b"x" * 100})
    created = service.client.post("/v1/batches", json={"filename": "a.zip", "size_bytes": len(data)}).json()
    batches.send_parts(service, created["id"], data, created["upload"]["part_size"], [1])
    before = len(s3.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))
    assert service.client.delete(f"/v1/batches/{created['id']}").status_code == 204
    assert len(s3.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])) == before - 1
    assert batches.everything_of(s3, created["id"]) == []


def test_without_a_bucket_batches_are_off_and_pictures_are_answered(models_dir: Path) -> None:
    with serve(models_dir) as service:
        answer = service.client.get("/v1/batches")
        assert code(answer) == (503, "batches_off") and "NINEFOLD_BUCKET" in answer.text
        assert service.predict(("koala.jpg", PHOTOS["koala.jpg"]))[0]["status"] == "ok"


def test_with_s3_away_batches_say_so_and_pictures_are_answered(
    models_dir: Path, s3: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = batches.use(monkeypatch, s3) | {"s3_endpoint": "http://127.0.0.1:9"}
    with serve(models_dir, **settings) as service:
        answer = service.client.get("/v1/batches")
        assert code(answer) == (503, "storage_away") and float(answer.headers["retry-after"]) > 0
        assert service.client.get("/readyz").status_code == 200
        assert service.predict(("koala.jpg", PHOTOS["koala.jpg"]))[0]["status"] == "ok"


def test_scripts_of_the_page_may_call_and_others_may_not(service: Service) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    ours = service.client.options("/v1/batches", headers={"origin": "http://page.example", **asked})
    assert ours.headers["access-control-allow-origin"] == "http://page.example"
    other = service.client.options("/v1/batches", headers={"origin": "http://evil.example", **asked})
    assert "access-control-allow-origin" not in other.headers


# -- what a review found -------------------------------------------------------------------------------------------


def test_on_aws_a_browser_is_sent_to_the_buckets_own_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "eu-south-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    url = urlsplit(Storage("my-bucket").presign_part("uploads/a/b.zip", "id", 1, 5))
    assert url.netloc == "my-bucket.s3.eu-south-1.amazonaws.com"  # the global host redirects, and a preflight may not


def test_unreadable_records_of_one_batch_harm_no_other_and_can_be_deleted(service: Service, s3: Cloud) -> None:
    batches.drop_in(s3, "aaa-broken", zips.of(PHOTOS))
    batches.preprocess(s3, "aaa-broken")
    keys = batches.job_of(s3, "aaa-broken")
    s3.s3.put_object(Bucket=BUCKET, Key=keys.tensor_keys.manifest, Body=b'{"another": "version"}')
    s3.s3.put_object(Bucket=BUCKET, Key="batches/aab-broken/request.json", Body=b'{"size_bytes": null}')
    listed = {found["id"]: found for found in service.client.get("/v1/batches").json()["batches"]}
    assert listed["aaa-broken"]["error"]["code"] == "damaged_records"
    assert code(batches.predict(service, "aaa-broken")) == (409, "wrong_state")
    batches.drop_in(s3, "zzz-fine", zips.of({"koala.jpg": PHOTOS["koala.jpg"]}))
    batches.preprocess(s3, "zzz-fine")
    assert batches.predict(service, "zzz-fine").status_code == 202
    batches.wait_for(service, "zzz-fine", "done")
    for batch in ("aaa-broken", "aab-broken"):
        assert service.client.delete(f"/v1/batches/{batch}").status_code == 204
        assert batches.everything_of(s3, batch) == []


def test_results_with_a_hole_are_not_handed_out_and_can_be_had_again(service: Service, s3: Cloud) -> None:
    batches.drop_in(s3, "hole", zips.of(PHOTOS))
    batches.preprocess(s3, "hole", images_a_shard=1)
    batches.predict(service, "hole")
    batches.wait_for(service, "hole", "done")
    part = batches.job_of(s3, "hole").source_keys.results("efficientnet_lite0", "fp32").part(1)
    s3.s3.delete_object(Bucket=BUCKET, Key=part)
    found = batches.state(service, "hole")
    assert found["state"] == "ready" and found["predictions"][0]["error"]["code"] == "results_incomplete"
    assert code(service.client.get("/v1/batches/hole/results")) == (409, "wrong_state")
    assert batches.predict(service, "hole").status_code == 202
    batches.wait_for(service, "hole", "done")
    assert [row["name"] for row in batches.rows(service, "hole")] == list(PHOTOS)


def test_a_second_variant_shows_that_it_is_being_predicted(service: Service, s3: Cloud, done: str) -> None:
    lease = batches.job_of(s3, done).source_keys.results("resnet18-seeded", "fp32").lease
    s3.s3.put_object(Bucket=BUCKET, Key=lease, Body=Lease("another server").encode())
    found = batches.state(service, done)
    assert found["state"] == "done" and found["progress"]["stage"] == "predicting"
    assert {one["model"]: one["state"] for one in found["predictions"]}["resnet18-seeded"] == "predicting"
    s3.s3.delete_object(Bucket=BUCKET, Key=lease)


def test_half_a_character_in_a_name_is_a_422(service: Service) -> None:
    answer = service.client.post(
        "/v1/batches",
        content=b'{"filename": "\\ud800.zip", "size_bytes": 0}',
        headers={"content-type": "application/json"},
    )
    assert code(answer)[0] == 422


def test_scripts_may_read_how_long_to_wait(service: Service) -> None:
    answer = service.client.get("/v1/batches/nope", headers={"origin": "http://page.example"})
    assert answer.status_code == 404 and answer.headers["access-control-allow-origin"] == "http://page.example"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
