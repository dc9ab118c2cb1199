from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lambda_function.deliveries import Deliveries
from tests.localcloud.clouds import Cloud, cloud


@pytest.fixture(scope="session")
def storage() -> Iterator[Cloud]:
    """S3 with nothing in it, and nobody who listens: the tests deliver the events."""
    with cloud(empty=True) as running:
        yield running


@pytest.fixture
def deliveries(storage: Cloud, capsys: pytest.CaptureFixture[str]) -> Deliveries:
    """A bucket of the test's own, and the function at it."""
    bucket = f"bucket-{os.urandom(6).hex()}"
    storage.s3.create_bucket(Bucket=bucket)
    return Deliveries(storage, bucket)
