"""Keys that come back as they went out, hostile names, and the state that the keys tell."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.batches import (
    BadRecord,
    BatchKeys,
    Claim,
    Evidence,
    Lease,
    ResultEvidence,
    Run,
    State,
    TensorEvidence,
    UploadKey,
    dump,
    is_batch_id,
    job_arguments,
    read_evidence,
    safe_file_name,
    state_of,
)

KEYS = BatchKeys("01JA")
SOURCE = KEYS.source('"abc-7"')
TENSORS = SOURCE.tensors("bilinear-256-224")
RESULTS = SOURCE.results("resnet18", "fp32")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
JUNK = [b"", b"{", b"null", b"[]", b"{}", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"owner": 1}']


# -- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["01JA8Q", "a", "my-photos_2.1", "..a", "x" * 64])
def test_ids(text: str) -> None:
    assert is_batch_id(text) and BatchKeys(text).prefix == f"batches/{text}/"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a/b", "a b", "a\n", "\n", "ä", "x" * 65, "a\0", "%2e%2e", "a\\b"]
)
def test_what_is_no_id(text: str) -> None:
    assert not is_batch_id(text)
    with pytest.raises(ValueError, match="no batch's id"):
        BatchKeys(text)


@pytest.mark.parametrize("etag", ["", '""', "a/b", "a b", "é", "x" * 129])
def test_what_is_no_etag(etag: str) -> None:
    with pytest.raises(ValueError, match="no etag"):
        KEYS.source(etag)


def test_keys_are_those_of_the_design() -> None:
    assert (KEYS.upload("a.zip"), KEYS.request) == ("uploads/01JA/a.zip", "batches/01JA/request.json")
    assert KEYS.source("abc-7") == SOURCE
    assert [SOURCE.claim, SOURCE.run, SOURCE.error] == [
        f"batches/01JA/abc-7/{name}.json" for name in ("claim", "run", "error")
    ]
    assert TENSORS.pixels(3) == "batches/01JA/abc-7/bilinear-256-224/part-00003.npy"
    assert TENSORS.rows(3) == "batches/01JA/abc-7/bilinear-256-224/part-00003.json"
    assert TENSORS.manifest == "batches/01JA/abc-7/bilinear-256-224/manifest.json"
    assert RESULTS.lease == "batches/01JA/abc-7/resnet18-fp32/lease.json"
    assert RESULTS.part(12345) == "batches/01JA/abc-7/resnet18-fp32/part-12345.jsonl"
    assert RESULTS.done == "batches/01JA/abc-7/resnet18-fp32/done.json"


@pytest.mark.parametrize(
    ("key", "batch", "name"),
    [
        ("uploads/01JA/photos.zip", "01JA", "photos.zip"),
        ("uploads/drop.in/PHOTOS.ZIP", "drop.in", "PHOTOS.ZIP"),
        ("uploads/a/two words (1).Zip", "a", "two words (1).Zip"),
        ("uploads/a/línea\n.zip", "a", "línea\n.zip"),
        ("uploads/a/.zip.zip", "a", ".zip.zip"),
    ],
)
def test_a_key_that_triggers_comes_back_as_it_was(key: str, batch: str, name: str) -> None:
    parsed = UploadKey.parse(key)
    assert parsed == UploadKey(batch, name) and str(parsed) == key


@pytest.mark.parametrize(
    "key",
    [
        "", "uploads/", "uploads/a", "uploads/a/", "uploads/a.zip", "uploads//a.zip", "uploads/a/b/c.zip",
        "uploads/../a.zip", "uploads/./a.zip", "uploads/a b/c.zip", "uploads/a\n/c.zip", f"uploads/{'x' * 65}/c.zip",
        "uploads/a/.zip", "uploads/a/b.jpg", "uploads/a/b.zip/", "uploads/a/b.zip\n", "uploads/a/b.zip.part",
        "Uploads/a/b.zip", "UPLOADS/a/b.zip", "/uploads/a/b.zip", "x/uploads/a/b.zip", "batches/a/b.zip",
    ],
)  # fmt: skip
def test_a_key_that_makes_no_batch_is_none(key: str) -> None:
    assert UploadKey.parse(key) is None


@given(st.text())
def test_a_parsed_key_is_always_the_very_key(tail: str) -> None:
    for key in (tail, f"uploads/{tail}", f"uploads/{tail}/{tail}.zip", f"uploads/a/{tail}.ZIP"):
        parsed = UploadKey.parse(key)
        assert parsed is None or (str(parsed) == key and is_batch_id(parsed.batch))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photos.zip", "photos.zip"),
        ("PHOTOS.ZIP", "PHOTOS.zip"),
        ("my photos (1).zip", "my-photos-1.zip"),
        ("../../etc/passwd", "passwd.zip"),
        ("C:\\Users\\me\\photos.zip", "photos.zip"),
        ("写真.zip", "photos.zip"),
        ("Grüße 2024.zip", "Gr-e-2024.zip"),
        ("", "photos.zip"),
        (".zip", "photos.zip"),
        ("...", "photos.zip"),
        (".hidden.zip", "hidden.zip"),
        ("a.tar.gz", "a.tar.gz.zip"),
        ("a\n\0b.zip", "a-b.zip"),
    ],
)
def test_a_file_name_becomes_a_safe_key(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


@given(st.text() | st.text("aA./\\-_ z", max_size=200))
def test_any_name_becomes_a_key_that_triggers(name: str) -> None:
    safe = safe_file_name(name)
    assert re.fullmatch(r"[A-Za-z0-9._-]+\.zip", safe) and len(safe) <= 100
    assert UploadKey.parse(KEYS.upload(name)) == UploadKey("01JA", safe)
    assert safe_file_name(safe) == safe


# -- records -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        Claim("lambda-1"),
        Claim("s", released=True, why="Glue is busy – später"),
        Run("ninefold-preprocess", "jr_1", (128, 5)),
        Run("j", "r", ()),
        Lease("server-1"),
        Lease("server-1", released=True, error=("model_missing", "It is gone.")),
    ],
)
def test_a_record_comes_back_as_it_was(record: Claim | Run | Lease) -> None:
    assert type(record).decode(record.encode()) == record
    assert record.encode() == type(record).decode(record.encode()).encode()


@pytest.mark.parametrize("kind", [Claim, Run, Lease])
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:12]))
def test_a_record_that_is_none_is_a_bad_record(kind: type[Claim] | type[Run] | type[Lease], junk: bytes) -> None:
    with pytest.raises(BadRecord, match="cannot be read"):
        kind.decode(junk)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(
    ("owner", "released", "why", "job_name", "job_run_id", "shards", "error"), JSON
)))  # fmt: skip
def test_junk_of_the_right_keys_raises_nothing_else(body: dict[str, object]) -> None:
    for kind in (Claim, Run, Lease):
        try:
            record = kind.decode(json.dumps(body).encode())
        except BadRecord:
            continue
        assert kind.decode(record.encode()) == record


def test_an_infinite_count_is_a_bad_record() -> None:
    with pytest.raises(BadRecord):
        Run.decode(b'{"job_name":"j","job_run_id":"r","shards":[Infinity]}')


def test_the_same_value_is_the_same_bytes() -> None:
    assert dump({"a": 1, "é": "ü"}) == '{"a":1,"é":"ü"}'.encode()


def test_what_a_run_is_started_with() -> None:
    upload = UploadKey("a", "b.zip")
    assert job_arguments(upload, '"e"', None) == {
        "--batch": "a",
        "--key": "uploads/a/b.zip",
        "--etag": "e",
        "--tensor-dtype": "uint8",
    }
    assert job_arguments(upload, "e", '{"resize": 256}', "float16") == {
        "--batch": "a",
        "--key": "uploads/a/b.zip",
        "--etag": "e",
        "--tensor-dtype": "float16",
        "--transform": '{"resize": 256}',
    }


# -- evidence ----------------------------------------------------------------------------------------------------


def test_keys_are_read_back_as_what_they_are_evidence_of() -> None:
    other = KEYS.source("other")
    keys = [
        KEYS.request, SOURCE.claim, SOURCE.run, TENSORS.pixels(0), TENSORS.rows(0), TENSORS.rows(1), TENSORS.manifest,
        RESULTS.lease, RESULTS.part(1), RESULTS.done, other.error, other.tensors("t").pixels(7),
    ]  # fmt: skip
    found = read_evidence(KEYS, keys)
    assert found["abc-7"] == Evidence(
        claim=True,
        run=True,
        tensors={"bilinear-256-224": TensorEvidence({0, 1}, manifest=True)},
        results={"resnet18-fp32": ResultEvidence(lease=True, parts={1}, done=True)},
    )
    assert found["other"] == Evidence(error=True) and len(found) == 2


@pytest.mark.parametrize(
    "key",
    [
        "batches/01JA/request.json", "batches/01JA/", "batches/01JA/x/", "batches/01JA/x/readme.txt",
        "batches/01JA/x/y/part-1.json", "batches/01JA/x/y/part-000001.json", "batches/01JA/x/y/part-00001.json.tmp",
        "batches/01JA/x/y/z/done.json", "batches/01JAX/x/claim.json", "batches/02/x/y/done.json",
        "uploads/01JA/claim.json", "x/y/done.json", "", "/", "///",
    ],
)  # fmt: skip
def test_a_key_that_means_nothing_is_passed_over(key: str) -> None:
    assert read_evidence(KEYS, [key]) == {}


# -- states ------------------------------------------------------------------------------------------------------

FOLDER = "batches/01JA/abc-7/"
STAGES = [
    SOURCE.claim, SOURCE.run, TENSORS.rows(0), TENSORS.manifest, RESULTS.lease, RESULTS.part(0), RESULTS.done,
]  # fmt: skip


def state(*keys: str, upload: bool = True, run_failed: bool = False) -> State:
    return state_of(read_evidence(KEYS, keys).get("abc-7"), upload=upload, run_failed=run_failed)


@pytest.mark.parametrize(
    ("keys", "upload", "run_failed", "expected"),
    [
        ([], False, False, State.CREATED),
        ([], True, False, State.UPLOADED),
        ([SOURCE.claim], True, False, State.PREPROCESSING),
        ([SOURCE.run], True, False, State.PREPROCESSING),
        ([SOURCE.claim, SOURCE.run, TENSORS.rows(0)], True, False, State.PREPROCESSING),
        ([TENSORS.rows(0)], True, False, State.UPLOADED),  # a claim that was taken back leaves finished shards
        ([SOURCE.claim, SOURCE.run], True, True, State.FAILED),
        ([SOURCE.claim, SOURCE.run], False, True, State.EXPIRED),  # the zip is gone: starting again makes no sense
        ([SOURCE.claim, SOURCE.run], False, False, State.EXPIRED),
        ([SOURCE.error], True, False, State.FAILED),
        ([SOURCE.error], False, False, State.FAILED),
        ([TENSORS.manifest], True, False, State.READY),
        ([TENSORS.manifest], False, False, State.READY),
        ([TENSORS.manifest, SOURCE.error], True, True, State.READY),
        ([TENSORS.manifest, RESULTS.lease], True, False, State.PREDICTING),
        ([TENSORS.manifest, RESULTS.lease, RESULTS.part(0)], True, False, State.PREDICTING),
        ([RESULTS.lease, RESULTS.part(0)], False, False, State.EXPIRED),  # half predicted, and then the shards went
        ([RESULTS.done], False, False, State.DONE),
        ([RESULTS.done, SOURCE.error], True, True, State.DONE),
        ([RESULTS.done, TENSORS.manifest, SOURCE.results("xception", "fp32").lease], True, False, State.DONE),
        ([SOURCE.results("xception", "fp32").done, RESULTS.lease], False, False, State.DONE),
    ],
)
def test_the_state_by_what_is_there(keys: list[str], upload: bool, run_failed: bool, expected: State) -> None:
    assert state(*keys, upload=upload, run_failed=run_failed) == expected


def test_the_furthest_evidence_wins_whatever_else_is_there_or_missing() -> None:
    order = list(State)
    states = [state(*STAGES[:count]) for count in range(len(STAGES) + 1)]
    assert states == sorted(states, key=order.index)
    assert states[0] == State.UPLOADED and states[-1] == State.DONE
    assert state(*reversed(STAGES)) == state(STAGES[-1]) == State.DONE


@given(st.sets(st.sampled_from([*STAGES, SOURCE.error])), st.sampled_from([*STAGES, SOURCE.error]), st.booleans())
def test_more_evidence_never_sets_a_finished_batch_back(keys: set[str], more: str, upload: bool) -> None:
    if state(*keys, upload=upload) == State.DONE:
        assert state(*keys, more, upload=upload) == State.DONE


def test_every_state_can_be_reached() -> None:
    reached = {state(*STAGES[:count]) for count in range(len(STAGES) + 1)}
    reached |= {state(upload=False), state(SOURCE.error), state(SOURCE.claim, upload=False)}
    assert reached == set(State)
