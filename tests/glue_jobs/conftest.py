from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from scripts.refusal import Refusal
from tests.glue_jobs.buckets import Bucket
from tests.glue_jobs.sparks import Spark
from tests.localcloud.clouds import Cloud, cloud


@pytest.fixture(scope="session")
def storage() -> Iterator[Cloud]:
    """S3 with nothing in it, and nobody who listens."""
    with cloud(empty=True) as running:
        yield running


@pytest.fixture
def bucket(storage: Cloud, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket of the test's own, where the environment says S3 is."""
    for name, value in storage.env.items():
        monkeypatch.setenv(name, value)
    made = Bucket(storage, f"bucket-{os.urandom(6).hex()}")
    storage.s3.create_bucket(Bucket=made.name)
    return made


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Spark:
    """Real Spark, with the code as AWS is given it."""
    try:
        return Spark.found(tmp_path_factory.mktemp("spark"), tmp_path_factory.mktemp("code"))
    except Refusal as refusal:
        pytest.skip(f"Spark is not to be had: {refusal}")
