"""Which shards are finished, how they are put, and the manifest that is written once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.batches import TensorKeys
from contract.shards import Counts, Manifest
from contract.transform import TransformSpec
from contract.ziplist import ShardPlan, plan_shards, read_directory
from glue_jobs.images import Shard, make_shard
from glue_jobs.s3 import s3_client
from glue_jobs.tensors import TensorStore
from tests import pictures, zips
from tests.glue_jobs.buckets import Bucket

SPEC = TransformSpec(resize=32, crop=32)
KEYS = TensorKeys("batches/a/etag/spec/")


def shard(first: int = 0, text_only: bool = False, dtype: str = "uint8") -> Shard:
    data = zips.of({"a.jpg": b"text" if text_only else pictures.jpeg((40, 40)), "b.jpg": pictures.jpeg((40, 40))[:99]})
    entries = read_directory(zips.Ranges(data), len(data))
    assert len(plan_shards(entries)) == 1
    return make_shard(ShardPlan(first, 0, 2), entries, zips.Ranges(data), SPEC, dtype)


@pytest.fixture
def store(bucket: Bucket) -> TensorStore:
    return TensorStore(s3_client(), bucket.name, KEYS)


def test_a_shard_that_was_put_is_finished_and_tagged(bucket: Bucket, store: TensorStore) -> None:
    plans = [ShardPlan(number, 0, 2) for number in range(3)]
    assert store.finished(plans, "uint8") == {}
    store.put(shard(0))
    store.put(shard(2, text_only=True))
    assert store.finished(plans, "uint8") == {plans[0]: Counts(1, 1, 0), plans[2]: Counts(0, 2, 0)}
    assert sorted(bucket.objects()) == [KEYS.rows(0), KEYS.pixels(0), KEYS.rows(2)]
    for key in bucket.objects():
        tags = bucket.s3.get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"]
        assert tags == [{"Key": "ninefold", "Value": "tensors"}]


@pytest.mark.parametrize("damage", ["no pixels", "cut pixels", "cut rows", "no rows", "other plan", "other dtype"])
def test_what_is_not_whole_is_not_finished(bucket: Bucket, store: TensorStore, damage: str) -> None:
    store.put(shard())
    plan, made = ShardPlan(0, 0, 2), shard()

    def put(key: str, body: bytes) -> None:
        bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=body)

    if damage == "no pixels":
        bucket.s3.delete_object(Bucket=bucket.name, Key=KEYS.pixels(0))
    elif damage == "cut pixels":
        put(KEYS.pixels(0), made.npy[:-1])
    elif damage == "cut rows":
        put(KEYS.rows(0), made.rows.encode()[:-9])
    elif damage == "no rows":
        bucket.s3.delete_object(Bucket=bucket.name, Key=KEYS.rows(0))
    elif damage == "other plan":
        plan = ShardPlan(0, 0, 1)
    else:
        store.put(shard(dtype="float16"))
    assert store.finished([plan], "uint8") == {}


def test_the_first_manifest_wins(bucket: Bucket, store: TensorStore) -> None:
    def manifest(key: str) -> Manifest:
        return Manifest({"key": key}, SPEC, "uint8", ((ShardPlan(0, 0, 2), Counts(1, 1, 0)),))

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda number: store.put_manifest(manifest(str(number))), range(4)))
    assert sorted(outcomes) == [False, False, False, True]
    kept = bucket.get(KEYS.manifest)
    assert kept and Manifest.decode(kept).source["key"] == str(outcomes.index(True))
